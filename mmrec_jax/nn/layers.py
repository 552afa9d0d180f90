"""The parts of a block that every language model has: projections, norms, feed-forward."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmrec_jax.array_typing import Array, Float
from mmrec_jax.config import ModelConfig


def dense(config: ModelConfig, features: int, name: str, *, residual: bool = False) -> nn.Dense:
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


def rms_norm(config: ModelConfig, name: str) -> nn.RMSNorm:
    """RMSNorm over the last axis with a learned scale."""
    return nn.RMSNorm(epsilon=1e-6, dtype=config.dtype, param_dtype=config.param_dtype, name=name)


def normalise(x: Float[Array, "*n E"]) -> Array:
    """RMSNorm over the last axis without a scale, in float32."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)


def l2_normalise(x: Float[Array, "*n S"]) -> Array:
    """Vectors of length 1 along the last axis, in float32; a zero vector stays zero."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True) + 1e-6)


class SwiGLU(nn.Module):
    """Gated feed-forward layer `(silu(x W_gate) * x W_value) W_down` (arXiv 2002.05202)."""

    config: ModelConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Applies the layer to each token alone."""
        gate_value = dense(self.config, 2 * self.config.F, "gate_value")(x)
        gate, value = jnp.split(gate_value, 2, axis=-1)
        return dense(self.config, self.config.D, "down", residual=True)(nn.silu(gate) * value)
