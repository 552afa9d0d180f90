"""How fast the memories forget: the decay's start values, and the input multiplier they imply."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmrec_jax.typing import Array, Float

# Largest derivative of sqrt that is let through (Griffin, arXiv 2402.19427: its RG-LRU caps it
# too): without a bound the gradient at gamma -> 1 is infinite.
_MAX_SQRT_DERIVATIVE = 1000.0


def halflife_bias(low: float, high: float) -> nn.initializers.Initializer:
    """Biases x whose decay sigmoid(x) has half-lives log-uniform from `low` to `high` tokens.

    sigmoid(x) = 2^(-1 / halflife) is solved by x = -log(expm1(ln 2 / halflife)). The values lie on
    a grid over the last axis, not at random: every layer starts with all time scales.
    """

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
        del key
        halflives = np.geomspace(low, high, shape[-1]) if shape[-1] > 1 else np.array([high])
        bias = -np.log(np.expm1(np.log(2.0) / halflives))
        return jnp.broadcast_to(jnp.asarray(bias, dtype), shape)

    return init


@jax.custom_jvp
def bounded_sqrt(x: Array) -> Array:
    """`sqrt(x)` for x >= 0 whose derivative is at most 1000."""
    return jnp.sqrt(x)


@bounded_sqrt.defjvp
def _bounded_sqrt_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    smallest = 0.25 / _MAX_SQRT_DERIVATIVE**2
    return bounded_sqrt(x), tangent * 0.5 * jax.lax.rsqrt(jnp.maximum(x, smallest))


@jax.custom_jvp
def _shares(logits: Array) -> tuple[Array, Array]:
    """Gamma = sigmoid(logits) and 1 - gamma from one exponential, neither by a subtraction."""
    small = jnp.exp(-jnp.abs(logits))
    large = 1 / (1 + small)
    positive = logits >= 0
    return jnp.where(positive, large, small * large), jnp.where(positive, small * large, large)


@_shares.defjvp
def _shares_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    kept, lost = _shares(*primals)
    change = kept * lost * tangents[0]
    return (kept, lost), (change, -change)


def decay_and_multiplier(logits: Float[Array, "..."]) -> tuple[Array, Array]:
    """Gamma = sigmoid(logits) and sqrt(1 - gamma^2), both accurate as gamma approaches 1.

    The multiplier keeps the variance of h at that of its input, whatever the decay. It is computed
    as (1 - gamma)(1 + gamma) with 1 - gamma = sigmoid(-logits): in float32, 1 - gamma^2 loses every
    digit near 1.
    """
    gamma, lost = _shares(logits)
    return gamma, bounded_sqrt(lost * (1 + gamma))
