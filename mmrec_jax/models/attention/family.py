"""Attention as a model family."""

import dataclasses
from typing import ClassVar

from jax.sharding import PartitionSpec as P

from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.attention.model import AttentionLM
from mmrec_jax.models.linen import LinenModel


@dataclasses.dataclass(frozen=True)
class Attention(LinenModel):
    """The model of `model.py`. It keeps no state: generation reads the whole text again."""

    config: AttentionConfig

    sharding: ClassVar[tuple[tuple[str, P], ...]] = (
        (r"(^|/)embedding$", P("tensor", "fsdp")),
        (r"(^|/)(out|down)/kernel$", P(None, "tensor", "fsdp")),
        (r"(^|/)kernel$", P(None, "fsdp", "tensor")),
    )

    @property
    def module(self) -> AttentionLM:
        """The network."""
        return AttentionLM(self.config)

    def mixing_flops(self, length: int) -> float:
        """Scores and mixtures with the tokens before: half of the row on average."""
        return 2.0 * length * self.config.num_layers * self.config.model_dim
