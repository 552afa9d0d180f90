"""The attention peer in Flax reads on, from keys and values kept in arrays of a fixed length."""

import flax.struct
import jax
import jax.numpy as jnp

from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.attention.model import rotary
from mmrec_jax.models.causal_attention import Keys, attend, rotate
from mmrec_jax.typing import Array, Float, Int, typed


@flax.struct.dataclass
class KeyValueCache:
    """Keys, rotated, and values of the tokens read; layers on axis 0, M tokens at most."""

    k: Float[Array, "L B M H S"]
    v: Float[Array, "L B M H S"]
    position: Int[Array, ""]  # tokens read


def empty_cache(config: AttentionConfig, batch: int, length: int) -> KeyValueCache:
    """The cache before the first token of `batch` rows of at most `length` tokens."""
    shape = config.num_layers, batch, length, config.num_heads, config.head_dim
    return KeyValueCache(
        k=jnp.zeros(shape, jnp.float32),
        v=jnp.zeros(shape, jnp.float32),
        position=jnp.zeros((), jnp.int32),
    )


def bytes_per_token(config: AttentionConfig) -> int:
    """Of keys and values in float32, of one row."""
    return 2 * 4 * config.num_layers * config.model_dim


@typed
def read(
    config: AttentionConfig, params: dict, tokens: Int[Array, "B T"], cache: KeyValueCache
) -> tuple[Float[Array, "B V"], KeyValueCache]:
    """Reads tokens as a continuation of what the cache holds.

    Every token is compared with all M slots, so that one compiled program serves all positions.

    Args:
      config: the model.
      params: its parameters.
      tokens: ids; with those read before no more than the cache has room for.
      cache: what has been read before.

    Returns:
      Logits after the last token, and the cache.
    """
    batch, length = tokens.shape
    width, start = config.model_dim, cache.position
    slots = jnp.arange(cache.k.shape[2])[None, None]
    seen = slots <= (start + jnp.arange(length))[None, :, None]

    def layer(x: Array, given: tuple[dict, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        weights, keys, values = given
        u = _norm(x, weights["norm"]) @ weights["qkv"]["kernel"]
        u = u.reshape(batch, length, 3 * config.num_heads, config.head_dim)
        q, k, v = jnp.split(u, 3, axis=2)
        cos, sin = rotary(config.rope_base, config.head_dim, length, start)
        q, k = rotate(q, cos, sin) * config.head_dim**-0.5, rotate(k, cos, sin)
        keys = jax.lax.dynamic_update_slice(keys, k, (0, start, 0, 0))
        values = jax.lax.dynamic_update_slice(values, v, (0, start, 0, 0))
        mixed = attend(q, Keys(keys, values, seen)).reshape(batch, length, width)
        x = x + mixed @ weights["out"]["kernel"]
        u = _norm(x, weights["ffn_norm"]) @ weights["gate_value"]["kernel"]
        gate, value = jnp.split(u, 2, axis=-1)
        x = x + (jax.nn.silu(gate) * value) @ weights["down"]["kernel"]
        return x, (keys, values)

    table = params["embed"]["embedding"]
    x, (k, v) = jax.lax.scan(layer, table[tokens], (params["blocks"], cache.k, cache.v))
    logits = _norm(x[:, -1], params["final_norm"]) @ table.T
    return logits, KeyValueCache(k=k, v=v, position=start + length)


def _norm(x: Array, weights: dict[str, Array]) -> Array:
    scale = weights["scale"].reshape((1,) * (x.ndim - 1) + (-1,))
    return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * scale
