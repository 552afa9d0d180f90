"""The attention peer in Flax: the same shape as `torch_attention.py`, exact causal attention.

Chosen for speed on a CPU, each by measurement:
  * attention goes by blocks of queries, each against the keys up to its end, and scores are made
    again in the backward pass: memory is linear in T, and most of what causality hides is never
    computed (`jax.nn.dot_product_attention`, which makes all T x T scores, took over twice as long
    at T = 256 and five times at 1,024);
  * besides the scores only the products with parameters are kept for the backward pass;
  * a weight's gradient is written as the form of the product that XLA does fastest there.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from benchmarks.peers.attention_config import AttentionConfig
from mmrec_jax.typing import Array, Float, Int, typed

Metrics = dict[str, Array]
_BLOCKS = 16  # of queries; more save work above the diagonal, and take longer to compile
_BLOCK_MIN, _BLOCK_MAX = 128, 512  # queries
_MIXED = "mixed"  # the name under which attention's result is kept


class AttentionLM(nn.Module):
    """Token ids to next-token logits; layer i is index i of axis 0 of every leaf of `layers`."""

    config: AttentionConfig

    @nn.compact
    @typed
    def __call__(
        self, tokens: Int[Array, "B T"], segment_ids: Int[Array, "B T"] | None = None
    ) -> Float[Array, "B T V"]:
        """Reads rows from their beginning.

        Args:
          tokens: ids in [0, vocab_size).
          segment_ids: a token attends to earlier tokens with its own id; None: to all earlier ones.

        Returns:
          Logits in float32; those at t predict token t + 1.
        """
        config = self.config
        embed = nn.Embed(
            config.vocab_size,
            config.model_dim,
            embedding_init=nn.initializers.normal(0.02),
            name="embed",
        )
        keep = jax.checkpoint_policies.save_from_both_policies(
            jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
            jax.checkpoint_policies.save_only_these_names(_MIXED),
        )
        layers = nn.scan(
            nn.remat(_Layer, prevent_cse=False, policy=keep),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=config.num_layers,
        )
        x, _ = layers(config, name="layers")(embed(tokens), segment_ids)
        x = nn.RMSNorm(name="final_norm")(x)
        return jnp.dot(x, embed.embedding.T)


class _Layer(nn.Module):
    """Attention and SwiGLU, each behind a norm and beside a residual."""

    config: AttentionConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], segment_ids: Int[Array, "B T"] | None
    ) -> tuple[Array, None]:
        config = self.config
        batch, length, width = x.shape
        last = 1 / (2 * config.num_layers)
        u = _Dense(3 * width, name="qkv")(nn.RMSNorm(name="norm")(x))
        u = u.reshape(batch, length, 3 * config.num_heads, config.head_dim)
        q, k, v = jnp.split(u, 3, axis=2)
        q, k = rotate(q, config.rope_base), rotate(k, config.rope_base)
        mixed = checkpoint_name(causal_attention(q, k, v, segment_ids), _MIXED)
        x = x + _Dense(width, last, name="out")(mixed.reshape(batch, length, width))
        u = _Dense(2 * config.ffn_dim, name="gate_value")(nn.RMSNorm(name="ffn_norm")(x))
        gate, value = jnp.split(u, 2, axis=-1)
        return x + _Dense(width, last, name="down")(nn.silu(gate) * value), None


@typed
def causal_attention(
    q: Float[Array, "B T H S"],
    k: Float[Array, "B T H S"],
    v: Float[Array, "B T H S"],
    segment_ids: Int[Array, "B T"] | None = None,
) -> Float[Array, "B T H S"]:
    """Softmax attention of each token to itself and to earlier ones with the same segment id."""
    length = q.shape[1]
    size = min(max(length // _BLOCKS, _BLOCK_MIN), _BLOCK_MAX)
    recomputed = jax.checkpoint(attend)
    blocks = []
    for start in range(0, length, size):
        end = min(start + size, length)
        seen = jnp.arange(start, end)[:, None] >= jnp.arange(end)[None]
        seen = seen[None]
        if segment_ids is not None:
            seen &= segment_ids[:, start:end, None] == segment_ids[:, None, :end]
        blocks.append(recomputed(q[:, start:end], k[:, :end], v[:, :end], seen))
    return jnp.concatenate(blocks, axis=1)


@flax.struct.dataclass
class TrainState:
    """What a step changes."""

    params: Any
    opt_state: optax.OptState


def initial_state(
    model: AttentionLM, optimizer: optax.GradientTransformation, seed: int
) -> TrainState:
    """The state before the first update. Traceable."""
    params = model.init(jax.random.key(seed), jnp.zeros((1, 2), jnp.int32))["params"]
    return TrainState(params=params, opt_state=optimizer.init(params))


def train_step(
    model: AttentionLM,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: dict[str, Array],
) -> tuple[TrainState, Metrics]:
    """One update, pure.

    Args:
      model: the model.
      optimizer: clipping included.
      state: parameters and what the optimizer remembers.
      batch: [B, T] each: `inputs` and `targets` (int32), `weights` (float32, of each target in the
        loss) and, where rows hold several documents that must not see each other, `segment_ids`.

    Returns:
      The next state; `loss` (nats, mean by weight) and `grad_norm` (before clipping).
    """
    weights = batch["weights"]

    def loss(params: Any) -> Array:
        logits: Any = model.apply({"params": params}, batch["inputs"], batch.get("segment_ids"))
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["targets"])
        return jnp.sum(weights * nats) / jnp.sum(weights)

    value, gradients = jax.value_and_grad(loss)(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {"loss": value, "grad_norm": optax.tree.norm(gradients)}
    return TrainState(params=params, opt_state=opt_state), metrics


def attend(q: Array, k: Array, v: Array, seen: Array) -> Array:
    """Queries `[B, Q, H, S]` over keys `[B, K, H, S]`; `seen [B or 1, Q, K]`, no row all False."""
    scores = jnp.einsum("bqhs,bkhs->bhqk", q * q.shape[-1] ** -0.5, k)
    scores = jnp.where(seen[:, None], scores, jnp.finfo(scores.dtype).min)
    # The maximum cancels out of the ratio below, so it needs no gradient.
    weights = jnp.exp(scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True)))
    total = jnp.swapaxes(jnp.sum(weights, axis=-1), 1, 2)[..., None]
    return jnp.einsum("bhqk,bkhs->bqhs", weights, v) / total


def rotate(x: Float[Array, "B T H S"], base: float, start: Array | int = 0) -> Array:
    """Rotary positions (arXiv 2104.09864) from `start` on; a head's two halves are paired."""
    half = x.shape[-1] // 2
    frequency = base ** (-jnp.arange(half) / half)
    angle = ((start + jnp.arange(x.shape[1]))[:, None] * frequency[None])[None, :, None]
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class _Dense(nn.Module):
    """A matrix without bias, LeCun-normal at the start; `scale` multiplies its variance."""

    features: int
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "B T M"]) -> Array:
        init = nn.initializers.variance_scaling(self.scale, "fan_in", "truncated_normal")
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        return _product(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], self.features)


@jax.custom_vjp
def _product(x: Array, kernel: Array) -> Array:
    return x @ kernel


def _product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ kernel, (x, kernel)


def _product_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = kept
    # Equal to x.T @ gradient; XLA on a CPU takes over 1.5 times as long for that one.
    return gradient @ kernel.T, (gradient.T @ x).T


_product.defvjp(_product_forward, _product_backward)
