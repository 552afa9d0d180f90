"""The shape of the attention model; needs no JAX, so that its twin in torch can read it too."""

import dataclasses
from typing import TYPE_CHECKING

from mmrec_jax.models.family_config import ExtendableConfig
from mmrec_jax.settings import above, at_least, setting

if TYPE_CHECKING:
    from mmrec_jax.models.attention.model import Attention


@dataclasses.dataclass(frozen=True)
class AttentionConfig(ExtendableConfig):
    """A decoder as Llama has it: RMSNorm, rotary positions, causal attention, SwiGLU, tied."""

    family = "attention"

    model_dim: int = setting(128, "D", at_least(1))
    num_layers: int = setting(4, "L", at_least(1))
    num_heads: int = setting(4, "H; a head has D / H channels, an even number", at_least(1))
    ffn_dim: int = setting(384, "F", at_least(0))
    rope_base: float = setting(10_000.0, "of the rotary positions", above(0))

    def __post_init__(self) -> None:
        super().__post_init__()
        even = self.model_dim % (2 * self.num_heads) == 0
        expected = f"a divisor of model.model_dim / 2 = {self.model_dim / 2:g}"
        self.require(even, "num_heads", expected)

    def build(self) -> "Attention":
        """The model."""
        from mmrec_jax.models.attention.model import Attention

        return Attention(self)

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.model_dim // self.num_heads
