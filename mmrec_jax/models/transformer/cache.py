"""Keys and values of the tokens that were read: the state of a decoder."""

from typing import ClassVar

import flax.struct
import jax.numpy as jnp

from mmrec_jax.models.growing_state import GrowingState, room_for
from mmrec_jax.models.layout import Layout
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.typing import Array, Float, Int


@flax.struct.dataclass
class KVCache(GrowingState):
    """Of the document that each row is in the middle of; its token at position n is in slot n.

    Slots from `position` on hold zeros or what is left of an earlier document: nothing sees them.
    """

    room_axes: ClassVar[dict[str, int]] = {"keys": 2, "values": 2}

    keys: Float[Array, "L B N G S"]  # rotated, in the compute dtype
    values: Float[Array, "L B N G S"]
    segment: Int[Array, "B"]  # id of the last real token's document; 0 before the first token
    position: Int[Array, "B"]  # tokens read of that document

    @property
    def used(self) -> Int[Array, "B"]:
        """The tokens of the document."""
        return self.position

    def after(self, k: Array, v: Array, tokens: Layout) -> "KVCache":
        """With keys and values [L, B, T, G, S] of the tokens that were read next."""
        documents = jnp.cumsum(tokens.start, axis=1)
        kept = tokens.real & (documents == documents[:, -1:])
        room, rows = self.keys.shape[2], jnp.arange(len(self.segment))[:, None]
        slots = jnp.where(kept, tokens.positions, room)  # beyond the end: dropped
        return KVCache(
            keys=self.keys.at[:, rows, slots].set(k, mode="drop"),
            values=self.values.at[:, rows, slots].set(v, mode="drop"),
            segment=tokens.segment,
            position=tokens.position,
        )


# Which axis of each array is the batch.
BATCH_AXES = KVCache(keys=1, values=1, segment=0, position=0)  # type: ignore[arg-type]


def empty_cache(config: TransformerConfig, batch: int, length: int) -> KVCache:
    """The state before the first token of `batch` rows, with room for `length` tokens of each."""
    c = config
    shape = c.num_layers, batch, room_for(length), c.num_kv_heads, c.head_dim
    # Arrays of their own: a step may be given all of them to write over.
    keys, values = (jnp.zeros(shape, c.dtype) for _ in range(2))
    segment, position = (jnp.zeros(batch, jnp.int32) for _ in range(2))
    return KVCache(keys, values, segment, position)
