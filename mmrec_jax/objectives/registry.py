"""The objectives, by the name that they have in `config.objectives`."""

from mmrec_jax.objectives.config import ObjectiveConfig
from mmrec_jax.registry import Registry

OBJECTIVES: Registry[type[ObjectiveConfig]] = Registry(
    "objective",
    {
        "cross_entropy": "mmrec_jax.objectives.config:CrossEntropyConfig",
        "long_range": "mmrec_jax.objectives.long_range:LongRangeConfig",
        "memory_consistency": "mmrec_jax.objectives.memory_consistency:MemoryConsistencyConfig",
        "sequence": "mmrec_jax.objectives.sequence:SequenceConfig",
        "uboo": "mmrec_jax.objectives.uboo:UBOOConfig",
        "vowel_harmony": "mmrec_jax.objectives.vowel_harmony:VowelHarmonyConfig",
    },
)
