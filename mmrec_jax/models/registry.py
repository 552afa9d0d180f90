"""The families of models, by the name that `config.model.family` has."""

from typing import Any, ClassVar

from mmrec_jax.registry import Registry
from mmrec_jax.settings import Settings


class FamilyConfig(Settings):
    """What the config of every family has; a family's is a frozen dataclass derived from this."""

    group = "model"
    tag = "family"
    family: ClassVar[str]

    vocab_size: int

    def resolved(self) -> dict[str, Any]:
        """The numbers that fields which were left to be derived come to, by field."""
        return {}


FAMILIES: Registry[type[Any]] = Registry(
    "model family",
    {
        "mmrec": "mmrec_jax.models.mmrec.config:MMRecConfig",
        "attention": "mmrec_jax.models.attention.config:AttentionConfig",
    },
)
