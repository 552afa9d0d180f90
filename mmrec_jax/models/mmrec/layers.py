"""The parts of a block that every language model has: projections, norms, feed-forward."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.typing import Array, Float

DROPOUT_MASK = "dropout_mask"  # by this name a rematerialisation policy can keep the masks


def dense(config: MMRecConfig, features: int, name: str, *, residual: bool = False) -> nn.Dense:
    """A matrix without bias, LeCun-normal at the start.

    `residual=True` marks the last matrix of a branch: it starts smaller by 1 / sqrt(2 L), so that
    the residual stream's variance does not grow with depth.
    """
    scale = 1 / (2 * config.num_layers) if residual else 1.0
    return nn.Dense(
        features,
        use_bias=False,
        dtype=config.dtype,
        param_dtype=config.param_dtype,
        kernel_init=nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal"),
        name=name,
    )


def rms_norm(config: MMRecConfig, name: str, epsilon: float = 1e-6) -> nn.RMSNorm:
    """RMSNorm over the last axis with a learned scale."""
    return nn.RMSNorm(
        epsilon=epsilon, dtype=config.dtype, param_dtype=config.param_dtype, name=name
    )


def l2_normalise(x: Float[Array, "*n S"]) -> Array:
    """Vectors of length 1 along the last axis, in float32 at least; a zero vector stays zero."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-6)


class Dropout(nn.Module):
    """Zeroes each number with probability `rate` and divides the others by `1 - rate`.

    As `flax.linen.Dropout`, but with 16 random bits a number instead of 32, which halves the cost
    of the masks; `rate` is rounded to a multiple of 2^-16, in the scale too.
    """

    rate: float
    deterministic: bool

    @nn.compact
    def __call__(self, x: Float[Array, "*n D"]) -> Float[Array, "*n D"]:
        """Draws the mask from the rng stream "dropout"; the identity when deterministic."""
        dropped = round(self.rate * 2**16)
        if self.deterministic or not dropped:
            return x
        words = (*x.shape[:-1], -(-x.shape[-1] // 2))
        pairs = jax.random.bits(self.make_rng("dropout"), words, jnp.uint32)
        draws = jax.lax.bitcast_convert_type(pairs, jnp.uint16).reshape(*x.shape[:-1], -1)
        kept = checkpoint_name(draws[..., : x.shape[-1]] >= dropped, DROPOUT_MASK)
        return jnp.where(kept, x * (2**16 / (2**16 - dropped)), 0)


class SwiGLU(nn.Module):
    """Gated feed-forward layer `(silu(x W_gate) * x W_value) W_down` (arXiv 2002.05202)."""

    config: MMRecConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Applies the layer to each token alone."""
        gate_value = dense(self.config, 2 * self.config.F, "gate_value")(x)
        gate, value = jnp.split(gate_value, 2, axis=-1)
        return dense(self.config, self.config.D, "down", residual=True)(nn.silu(gate) * value)
