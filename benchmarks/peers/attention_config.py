"""The shape of the attention peers. Needs neither torch nor JAX, so that both can read it."""

import dataclasses

_MULTIPLE = 16  # of F: whole vector registers


@dataclasses.dataclass(frozen=True)
class AttentionConfig:
    """A decoder as Llama has it: RMSNorm, rotary positions, causal attention, SwiGLU, tied."""

    vocab_size: int  # V
    model_dim: int  # D
    num_layers: int  # L
    num_heads: int  # H; a head has D / H channels, an even number
    ffn_dim: int  # F
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        if self.model_dim % (2 * self.num_heads):
            raise ValueError(f"model_dim {self.model_dim} is not {self.num_heads} even heads")

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.model_dim // self.num_heads

    @property
    def parameters(self) -> int:
        """Scalars that are trained."""
        d = self.model_dim
        layer = 4 * d * d + 3 * d * self.ffn_dim + 2 * d
        return self.vocab_size * d + self.num_layers * layer + d


def matching(
    parameters: int, *, vocab_size: int, model_dim: int, num_layers: int, num_heads: int
) -> AttentionConfig:
    """The config of this shape whose F brings its size nearest to `parameters`."""
    rest = AttentionConfig(vocab_size, model_dim, num_layers, num_heads, ffn_dim=0).parameters
    a_unit = 3 * model_dim * num_layers * _MULTIPLE
    units = max(1, round((parameters - rest) / a_unit))
    return AttentionConfig(vocab_size, model_dim, num_layers, num_heads, _MULTIPLE * units)
