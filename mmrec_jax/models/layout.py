"""Which tokens are real, and where documents begin, by one rule for every model with a state.

A token begins a document if and only if its segment id differs from that of the last real token,
the one before this call included.
"""

import dataclasses
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from mmrec_jax.models import sequence
from mmrec_jax.typing import Array, Bool, Int


@flax.struct.dataclass
class Layout:
    """The tokens of one call."""

    real: Bool[Array, "B T"]  # False: padding
    start: Bool[Array, "B T"]  # first token of a document; never at padding
    positions: Int[Array, "B T"]  # of each token in its document; of padding, of the one before it
    segment: Int[Array, "B"]  # id after the last token
    position: Int[Array, "B"]  # tokens of that document read after the last token


def layout(
    segment_ids: Int[Array, "B T"] | None,
    state: Any,
    shape: tuple[int, ...],
    block: int | None = None,
) -> Layout:
    """Applies the rule above to one call of tokens [B, T].

    `state` has the `segment` [B] and the `position` [B] after the tokens before; None: none were
    read. Without ids all tokens continue the document in the state (or begin one, if there is
    none). Where devices share a row `block` is the model's `row_block`.
    """
    if sequence.parts() > 1:
        # Each device works out the whole row, which is a few integers for each token.
        assert block is not None  # as the run's checks have it
        assert segment_ids is not None
        ids = sequence.whole(segment_ids, block)
        found = _layout_of_row(ids, state, ids.shape)
        named = "real", "start", "positions"
        parts = {name: sequence.own(getattr(found, name), block) for name in named}
        return dataclasses.replace(found, **parts)
    return _layout_of_row(segment_ids, state, shape)


def _layout_of_row(
    segment_ids: Int[Array, "B T"] | None, state: Any, shape: tuple[int, ...]
) -> Layout:
    rows, length = shape
    nothing = jnp.zeros(rows, jnp.int32)
    segment, position = (nothing, nothing) if state is None else (state.segment, state.position)
    if segment_ids is None:
        segment_ids = jnp.broadcast_to(jnp.maximum(segment, 1)[:, None], shape)
    real = segment_ids > 0
    time = jnp.arange(length)[None]
    # Of each token the last real one before it, and itself included.
    last_real = jax.lax.cummax(jnp.where(real, time, -1), axis=1)
    before = jnp.concatenate([jnp.full_like(last_real[:, :1], -1), last_real[:, :-1]], axis=1)
    ids = jnp.take_along_axis(segment_ids, jnp.maximum(before, 0), axis=1)
    start = real & (segment_ids != jnp.where(before < 0, segment[:, None], ids))

    rank = jnp.cumsum(real, axis=1, dtype=jnp.int32) - 1
    begin = jax.lax.cummax(jnp.where(start, rank, -position[:, None]), axis=1)
    last_id = jnp.take_along_axis(segment_ids, jnp.maximum(last_real[:, -1:], 0), axis=1)[:, 0]
    return Layout(
        real=real,
        start=start,
        positions=rank - begin,
        segment=jnp.where(last_real[:, -1] >= 0, last_id, segment).astype(jnp.int32),
        position=(rank - begin)[:, -1] + 1,
    )
