"""The families of models, by the name that `config.model.family` has."""

from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.registry import Registry

FAMILIES: Registry[type[FamilyConfig]] = Registry(
    "model family",
    {
        "mmrec": "mmrec_jax.models.mmrec.config:MMRecConfig",
        "attention": "mmrec_jax.models.attention.config:AttentionConfig",
        "transformer": "mmrec_jax.models.transformer.config:TransformerConfig",
    },
)
