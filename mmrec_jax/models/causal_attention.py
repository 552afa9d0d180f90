"""Exact causal attention by blocks of queries, and rotary positions.

Each block of queries meets the keys up to its end, and scores are made again in the backward pass:
memory is linear in T, and most of what causality hides is never computed. It is the plain path on
every platform: neither `jax.nn.dot_product_attention` (which makes all T x T scores on a CPU, over
twice as slow at T = 256 and five times at 1,024) nor cuDNN's or TPU kernels, which no run on such a
device has proved yet, are used.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmrec_jax.typing import Array, Bool, Float, Int, typed

_BLOCKS = 16  # of queries; more save work above the diagonal, and take longer to compile
_BLOCK_MIN, _BLOCK_MAX = 128, 512  # queries


class Keys(NamedTuple):
    """What some queries look at."""

    k: Float[Array, "B N G S"]
    v: Float[Array, "B N G S"]
    seen: Bool[Array, "#B T N"]  # by each query


@typed
def causal_attention(
    q: Float[Array, "B T H S"],
    k: Float[Array, "B T G S"],
    v: Float[Array, "B T G S"],
    segment_ids: Int[Array, "B T"] | None = None,
    past: Keys | None = None,
) -> Float[Array, "B T H S"]:
    """Softmax attention of each token to itself and to earlier ones with the same segment id.

    Query head h looks at head h // (H / G) of keys and values. Scores are the products q k: the
    caller has scaled q. They and the softmax are float32 at least, the result is of q's dtype.
    `past` are keys of tokens before these.
    """
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
        parts = [Keys(k[:, :end], v[:, :end], seen)]
        if past is not None:
            parts.insert(0, past._replace(seen=past.seen[:, start:end]))
        blocks.append(recomputed(q[:, start:end], *parts))
    return jnp.concatenate(blocks, axis=1)


def attend(q: Float[Array, "B Q H S"], *parts: Keys) -> Float[Array, "B Q H S"]:
    """Scaled queries over all keys of all parts together; each sees one key at least."""
    batch, queries, heads, channels = q.shape
    groups = parts[0].k.shape[2]
    shared = heads // groups  # query heads of one head of keys, which become more queries of it
    q = q.reshape(batch, queries, groups, shared, channels).swapaxes(2, 3)
    q = q.reshape(batch, queries * shared, groups, channels)
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scores = []
    for part in parts:
        found = jnp.einsum("bqhs,bkhs->bhqk", q, part.k, preferred_element_type=wide)
        seen = jnp.repeat(part.seen, shared, axis=1)[:, None]
        scores.append(jnp.where(seen, found, jnp.finfo(wide).min))
    together = jnp.concatenate(scores, axis=-1)
    # The maximum cancels out of the ratio below, so it needs no gradient.
    most = jax.lax.stop_gradient(jnp.max(together, axis=-1, keepdims=True))
    weights = jnp.exp(together - most)
    total = jnp.swapaxes(jnp.sum(weights, axis=-1), 1, 2)[..., None]
    sums, first = [], 0
    for part in parts:
        own = weights[..., first : first + part.k.shape[1]].astype(part.v.dtype)
        sums.append(jnp.einsum("bhqk,bkhs->bqhs", own, part.v, preferred_element_type=wide))
        first += part.k.shape[1]
    mixed = (sum(sums[1:], start=sums[0]) / total).astype(q.dtype)
    mixed = mixed.reshape(batch, queries, shared, groups, channels).swapaxes(2, 3)
    return mixed.reshape(batch, queries, heads, channels)


def rotate(x: Float[Array, "B T H S"], cos: Array, sin: Array) -> Array:
    """Rotary positions (arXiv 2104.09864); a head's two halves are paired.

    `cos` and `sin` [B or 1, T, 1, S / 2] are of each token's position times each frequency.
    """
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
