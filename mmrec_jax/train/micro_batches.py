"""A batch and the carried state of its rows, dealt to micro-batches and put together again."""

from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.models.mmrec.state import MMRecState
from mmrec_jax.typing import Array

# Which axis of each array is the rows'.
ROW_AXES = MMRecState(h=1, m=1, segment=0, position=0)  # type: ignore[arg-type]


def split_batch(batch: dict[str, Array], count: int) -> dict[str, Array]:
    """[B, T] to [count, B / count, T]: micro-batch i has the rows i, i + count, i + 2 count, ...

    Rows are dealt, not cut into blocks: each device keeps the rows that it already holds.
    """
    return {name: _split(x, 0, count) for name, x in batch.items()}


def split_state(state: MMRecState | None, count: int) -> MMRecState | None:
    """The state of the rows of each micro-batch, stacked on a new axis 0. None stays None."""
    if state is None:
        return None
    return _map(lambda x, axis: _split(x, axis, count), state)


def join_states(stacked: MMRecState | None) -> MMRecState | None:
    """The inverse of `split_state`."""
    if stacked is None:
        return None
    return _map(_join, stacked)


def _map(function: Any, state: MMRecState) -> MMRecState:
    mapped: MMRecState = jax.tree.map(function, state, ROW_AXES)
    return mapped


def _split(x: Array, axis: int, count: int) -> Array:
    before, rows, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    return jnp.moveaxis(x.reshape(*before, rows // count, count, *after), axis + 1, 0)


def _join(x: Array, axis: int) -> Array:
    x = jnp.moveaxis(x, 0, axis + 1)
    before, rows, count, after = x.shape[:axis], *x.shape[axis : axis + 2], x.shape[axis + 2 :]
    return x.reshape(*before, rows * count, *after)
