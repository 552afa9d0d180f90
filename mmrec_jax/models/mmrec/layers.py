"""The parts of a block around its memories: projections, norms, feed-forward, decay."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.typing import Array, Float

DROPOUT_MASK = "dropout_mask"  # by this name a rematerialisation policy can keep the masks


def dense(
    config: MMRecConfig,
    features: int,
    name: str,
    *,
    residual: bool = False,
    init: nn.initializers.Initializer | None = None,
) -> nn.Dense:
    """A matrix without bias, LeCun-normal at the start unless `init` says otherwise.

    `residual=True` marks the last matrix of a branch: it starts smaller by 1 / sqrt(2 L), so that
    the residual stream's variance does not grow with depth.
    """
    scale = 1 / (2 * config.num_layers) if residual else 1.0
    return nn.Dense(
        features,
        use_bias=False,
        dtype=config.dtype,
        param_dtype=config.param_dtype,
        kernel_init=init or nn.initializers.variance_scaling(scale, "fan_in", "truncated_normal"),
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

    As `flax.linen.Dropout`, but with 16 random bits per number instead of 32, which halves the cost
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


# Largest derivative of sqrt that is let through (Griffin, arXiv 2402.19427: its RG-LRU caps it
# too): without a bound the gradient at gamma -> 1 is infinite.
_MAX_SQRT_DERIVATIVE = 1000.0


def halflife_bias(low: float, high: float) -> nn.initializers.Initializer:
    """Biases x whose decay sigmoid(x) has half-lives log-uniform from `low` to `high` tokens.

    sigmoid(x) = 2^(-1 / halflife) is solved by x = -log(expm1(ln 2 / halflife)). The values lie on
    a grid over the last axis, not at random: every layer starts with all time scales.
    """

    def init(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
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


def projection_widths(config: MMRecConfig) -> dict[str, int]:
    """Name and width of each projection, in the column order of the fused matrix."""
    c = config
    widths = {"z": c.E, "v": c.H * c.K, "g": c.E + c.H * c.K}
    if c.addresses == "tokens":
        widths |= {"q": c.H * c.S, "k": c.H * c.S}
    widths |= {"beta": c.H, "alpha": c.H}
    if c.gate == "input":
        widths["i"] = c.E
    return {name: width for name, width in widths.items() if width}


class InputProjection(nn.Module):
    """HEM: maps the block's input to `z, v, g, beta, alpha`, and to what the config asks for.

    That is `q, k` with addresses="tokens", and `i` with gate="input".

    With `use_hem` the parameter is one matrix `fused`; without, one matrix per name. Slicing
    `fused` by `projection_widths` gives the same function.
    """

    config: MMRecConfig

    @nn.compact
    def __call__(self, u: Float[Array, "B T D"]) -> dict[str, Array]:
        """Projects `u`; each result is `[B, T, width]`."""
        widths = projection_widths(self.config)
        if not self.config.use_hem:
            return {name: dense(self.config, width, name)(u) for name, width in widths.items()}
        fused = dense(self.config, sum(widths.values()), "fused")(u)
        borders = [sum(list(widths.values())[: i + 1]) for i in range(len(widths) - 1)]
        return dict(zip(widths, jnp.split(fused, borders, axis=-1), strict=True))
