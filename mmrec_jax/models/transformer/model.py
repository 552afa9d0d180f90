"""A decoder as Qwen3, Qwen2 and Llama have it: token ids and a cache in, hidden states out.

    x = x + O attention(norm(x)),    x = x + down(silu(gate(norm(x))) up(norm(x)))

Products are in `config.dtype`; norms and scores in float32. Positions count from the beginning of
each document, so that packed documents are what they are apart.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec as P

from mmrec_jax.models.causal_attention import Keys, causal_attention, rotate
from mmrec_jax.models.layout import layout
from mmrec_jax.models.linen import recomputed
from mmrec_jax.models.partition import split_rows
from mmrec_jax.models.transformer.cache import BATCH_AXES, KVCache, empty_cache
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.vocabulary import ExtendableModel, Vocabulary
from mmrec_jax.typing import Array, Bool, Float, Int, typed

_MIXED = "mixed"  # the name under which attention's result is kept with remat="dots"


class _Context(NamedTuple):
    """What every block knows of the tokens."""

    documents: Int[Array, "B T"]  # 0: the cache's; -1: padding
    seen: Bool[Array, "B T N"] | None  # slots of the cache that a token sees
    cos: Float[Array, "B T 1 half"]  # of the rotary positions, in the compute dtype
    sin: Float[Array, "B T 1 half"]


class TransformerLM(nn.Module):
    """Layers are compiled once and scanned over; layer i is index i of all leaves of `blocks`."""

    config: TransformerConfig

    @nn.compact
    @typed
    def __call__(
        self,
        tokens: Int[Array, "B T"],
        state: KVCache | None = None,
        segment_ids: Int[Array, "B T"] | None = None,
        *,
        deterministic: bool = True,
        perturb: Callable[[Array], Array] | None = None,
    ) -> tuple[Float[Array, "B T D"], KVCache, dict[str, Array]]:
        """Reads T tokens: see `LanguageModel.apply`. There is no dropout."""
        config = self.config
        where = layout(segment_ids, state, tokens.shape)
        documents = jnp.where(where.real, jnp.cumsum(where.start, axis=1), -1)
        seen = None
        if state is not None:
            filled = jnp.arange(state.keys.shape[2])[None] < state.position[:, None]
            seen = (documents == 0)[:, :, None] & filled[:, None]
        context = _Context(documents, seen, *_rotary(config, where.positions))

        table = functools.partial(
            Vocabulary,
            config,
            config.model_dim,
            dtype=config.dtype,
            param_dtype=config.param_dtype,
        )
        x = table(name="embed")(tokens)
        if self.is_initializing() and not config.tie_embeddings:
            table(name="head")(tokens)  # `Transformer.head` multiplies with it
        if perturb is not None:
            x = perturb(x)
        products = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
        blocks = nn.scan(
            recomputed(_Block, config.remat, products, _MIXED),
            variable_axes={True: 0},  # of every collection: what is laid over params comes along
            split_rngs={"params": True, "dropout": True},  # the latter for adapters
            in_axes=(0, nn.broadcast),
            length=config.num_layers,
            check_constancy_invariants=False,  # which there are none of: traces a layer once
        )
        past = None if state is None else (state.keys, state.values)
        x, (k, v) = blocks(config, name="blocks")(split_rows(x), past, context)
        before = empty_cache(config, *tokens.shape) if state is None else state
        return _Norm(config, name="final_norm")(x), before.after(k, v, where), {}


class _Block(nn.Module):
    """Attention and SwiGLU, each behind a norm and beside a residual."""

    config: TransformerConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], past: tuple[Array, Array] | None, context: _Context
    ) -> tuple[Array, tuple[Array, Array]]:
        """The residual stream, and keys and values of the tokens [B, T, G, S]."""
        c = self.config

        def dense(name: str, features: int, variance: float = 1.0) -> nn.Dense:
            return nn.Dense(
                features,
                use_bias=name in c.biased,
                dtype=c.dtype,
                param_dtype=c.param_dtype,
                kernel_init=nn.initializers.variance_scaling(
                    variance, "fan_in", "truncated_normal"
                ),
                name=name,
            )

        def heads(name: str, count: int) -> Array:
            found = dense(name, count * c.head_dim)(u).reshape(*x.shape[:2], count, c.head_dim)
            return _Norm(c, name=f"{name}_norm")(found) if c.qk_norm and name != "v" else found

        def rotated(found: Array, scale: float) -> Array:
            wide = found.astype(jnp.promote_types(c.dtype, jnp.float32))
            return (rotate(wide, context.cos, context.sin) * scale).astype(c.dtype)

        last = 1 / (2 * c.num_layers)  # variance of what is added to the residual stream
        u = _Norm(c, name="attention_norm")(x)
        q, k, v = heads("q", c.num_heads), heads("k", c.num_kv_heads), heads("v", c.num_kv_heads)
        q, k = rotated(q, c.head_dim**-0.5), rotated(k, 1.0)
        earlier = None
        if past is not None and context.seen is not None:
            earlier = Keys(*past, context.seen)
        mixed = checkpoint_name(causal_attention(q, k, v, context.documents, earlier), _MIXED)
        x = split_rows(x + dense("o", c.model_dim, last)(mixed.reshape(*x.shape[:2], -1)))
        u = _Norm(c, name="ffn_norm")(x)
        u = _gated(dense("gate", c.ffn_dim)(u), dense("up", c.ffn_dim)(u))
        return split_rows(x + dense("down", c.model_dim, last)(u)), (k, v)


@jax.checkpoint  # the backward pass keeps what goes in, not what is float32
def _gated(gate: Array, value: Array) -> Array:
    """`silu(gate) value`, rounded once."""
    wide = jnp.promote_types(gate.dtype, jnp.float32)
    return (nn.silu(gate.astype(wide)) * value.astype(wide)).astype(gate.dtype)


class _Norm(nn.Module):
    """RMSNorm as `transformers` rounds it: float32, cast to the compute dtype, then the weight."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x: Float[Array, "*n M"]) -> Float[Array, "*n M"]:
        c = self.config
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:], c.param_dtype)
        wide = x.astype(jnp.promote_types(c.dtype, jnp.float32))
        square = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        normed = (wide * jax.lax.rsqrt(square + c.norm_epsilon)).astype(c.dtype)
        return normed * scale.astype(c.dtype).reshape((1,) * (x.ndim - 1) + (-1,))


def _rotary(config: TransformerConfig, positions: Int[Array, "B T"]) -> tuple[Array, Array]:
    """Cosine and sine [B, T, 1, S / 2], of float32 angles, in the compute dtype."""
    half = config.head_dim // 2
    exponent = np.arange(half, dtype=np.float32) / np.float32(half)
    frequency = 1 / np.float32(config.rope_theta) ** exponent
    if config.rope_scaling is not None:
        factor, low, high, length = config.rope_scaling
        # 1 for what turns often enough in `length` tokens, 0 for what hardly does
        kept = np.clip((length * frequency / (2 * np.pi) - low) / (high - low), 0, 1)
        frequency *= kept + (1 - kept) / factor
    angle = positions[..., None, None] * jnp.float32(frequency)[None, None, None]
    return jnp.cos(angle).astype(config.dtype), jnp.sin(angle).astype(config.dtype)


@dataclasses.dataclass(frozen=True)
class Transformer(ExtendableModel):
    """The model family."""

    config: TransformerConfig

    not_adaptable: ClassVar[str] = r"(^|/)(embed|head)/|norm[^/]*/|(^|/)(scale|bias)$"
    sharding: ClassVar[tuple[tuple[str, P], ...]] = (
        (r"embedding$", P("tensor", "fsdp")),
        (r"(^|/)(o|down)/kernel$", P(None, "tensor", "fsdp")),
        (r"(^|/)kernel$", P(None, "fsdp", "tensor")),
    )

    @property
    def module(self) -> TransformerLM:
        """The network."""
        return TransformerLM(self.config)

    @property
    def head_parameters(self) -> tuple[str, ...]:
        """The tied table or the head's own."""
        return ("embed" if self.config.tie_embeddings else "head",)

    def initial_state(self, batch: int) -> KVCache:
        """The state before the first token."""
        return empty_cache(self.config, batch, 1)

    @property
    def state_batch_axes(self) -> KVCache:
        """The batch axis of each array."""
        return BATCH_AXES

    def mixing_flops(self, length: int) -> float:
        """Scores and mixtures with the tokens before: half of the row on average."""
        c = self.config
        return 2.0 * length * c.num_layers * c.num_heads * c.head_dim
