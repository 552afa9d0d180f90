"""The objectives, by the name that they have in `config.objectives`."""

from typing import Any

from mmrec_jax.registry import Registry

OBJECTIVES: Registry[type[Any]] = Registry(
    "objective",
    {
        "cross_entropy": "mmrec_jax.objectives.config:CrossEntropyConfig",
        "uboo": "mmrec_jax.objectives.config:UBOOConfig",
        "vowel_harmony": "mmrec_jax.objectives.config:VowelHarmonyConfig",
    },
)
