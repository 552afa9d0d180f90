"""The attention model that is as large as another model: what a comparison is made with."""

from mmrec_jax.models.attention.config import AttentionConfig

_MULTIPLE = 16  # of F: whole vector registers


def parameters_of(config: AttentionConfig) -> int:
    """Scalars that are trained."""
    d = config.model_dim
    layer = 4 * d * d + 3 * d * config.ffn_dim + 2 * d
    return config.vocab_size * d + config.num_layers * layer + d


def matching(
    parameters: int, *, vocab_size: int, model_dim: int, num_layers: int, num_heads: int
) -> AttentionConfig:
    """The config of this shape whose F brings its size nearest to `parameters`."""
    rest = parameters_of(AttentionConfig(vocab_size, model_dim, num_layers, num_heads, ffn_dim=0))
    a_unit = 3 * model_dim * num_layers * _MULTIPLE
    units = max(1, round((parameters - rest) / a_unit))
    return AttentionConfig(vocab_size, model_dim, num_layers, num_heads, _MULTIPLE * units)
