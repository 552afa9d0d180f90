"""The objectives, by the name that they have in `config.objectives`."""

from mmrec_jax.objectives.config import ObjectiveConfig
from mmrec_jax.registry import Registry

OBJECTIVES: Registry[type[ObjectiveConfig]] = Registry(
    "objective",
    {
        "cross_entropy": "mmrec_jax.objectives.config:CrossEntropyConfig",
        "uboo": "mmrec_jax.objectives.uboo:UBOOConfig",
        "vowel_harmony": "mmrec_jax.objectives.vowel_harmony:VowelHarmonyConfig",
    },
)
