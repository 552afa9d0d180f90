"""What the model remembers between calls: a fixed number of bytes, whatever has been read.

A token begins a document if and only if its segment id differs from that of the last real token,
the one before this call included. `Layout` derives everything the layers need from that rule.
"""

import flax.struct
import jax
import jax.numpy as jnp

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.typing import Array, Bool, Float, Int


@flax.struct.dataclass
class MMRecState:
    """State of a whole model; layers are stacked on axis 0."""

    h: Float[Array, "L B E"]  # short-term memories, float32
    m: Float[Array, "L B H S K"]  # long-term memories, float32; H is 0 with memory="none"
    segment: Int[Array, "B"]  # id of the last real token's document; 0 before the first token
    position: Int[Array, "B"]  # tokens read of that document


def zero_state(config: MMRecConfig, batch: int) -> MMRecState:
    """The state before the first token of `batch` rows."""
    c = config
    return MMRecState(
        h=jnp.zeros((c.num_layers, batch, c.E), c.state_dtype),
        m=jnp.zeros((c.num_layers, batch, c.H, c.S, c.K), c.state_dtype),
        segment=jnp.zeros(batch, jnp.int32),
        position=jnp.zeros(batch, jnp.int32),
    )


# Which axis of each array is the batch.
BATCH_AXES = MMRecState(h=1, m=1, segment=0, position=0)  # type: ignore[arg-type]


@flax.struct.dataclass
class Layout:
    """Which tokens are real, and where documents begin, in one call."""

    real: Bool[Array, "B T"]  # False: padding
    start: Bool[Array, "B T"]  # first token of a document; never at padding
    segment: Int[Array, "B"]  # id after the last token
    position: Int[Array, "B"]  # tokens of that document read after the last token


def layout(segment_ids: Int[Array, "B T"] | None, state: MMRecState, length: int) -> Layout:
    """Applies the rule above to one call of `length` tokens, after `state`.

    Without ids all tokens continue the document in the state (or begin one, if there is none).
    """
    if segment_ids is None:
        ids = jnp.maximum(state.segment, 1)[:, None]
        segment_ids = jnp.broadcast_to(ids, (ids.shape[0], length))
    real = segment_ids > 0
    time = jnp.arange(length)[None]
    last_real = jax.lax.cummax(jnp.where(real, time, -1), axis=1)
    before = jnp.concatenate([jnp.full_like(last_real[:, :1], -1), last_real[:, :-1]], axis=1)
    previous = jnp.where(
        before < 0,
        state.segment[:, None],
        jnp.take_along_axis(segment_ids, jnp.maximum(before, 0), axis=1),
    )
    start = real & (segment_ids != previous)

    any_real = last_real[:, -1] >= 0
    last_id = jnp.take_along_axis(segment_ids, jnp.maximum(last_real[:, -1:], 0), axis=1)[:, 0]
    last_start = jnp.max(jnp.where(start, time, -1), axis=1)
    in_last = real & (time >= last_start[:, None])
    carried = jnp.where(last_start < 0, state.position, 0)
    return Layout(
        real=real,
        start=start,
        segment=jnp.where(any_real, last_id, state.segment).astype(jnp.int32),
        position=(carried + jnp.sum(in_last, axis=1)).astype(jnp.int32),
    )
