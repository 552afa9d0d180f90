"""A batch and the carried state of its rows, split into microbatches and joined again.

Their gradients are added up in `step.py`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.models.api import State
from mmrec_jax.typing import Array


def split_batch(batch: Any, count: int) -> Any:
    """[B, ...] to [count, B / count, ...] in a tree: microbatch i has the rows i, i + count, ...

    Rows are dealt, not cut into blocks: each device keeps the rows that it already holds.
    """
    return jax.tree.map(lambda x: _split(x, 0, count), batch)


def split_state(state: State, axes: Any, count: int) -> State:
    """The state of the rows of each microbatch, stacked on a new axis 0. None stays None.

    `axes` are the model's `state_batch_axes`.
    """
    return _map(lambda x, axis: _split(x, axis, count), state, axes)


def join_states(stacked: State, axes: Any) -> State:
    """The inverse of `split_state`."""
    return _map(_join, stacked, axes)


def rows_first(state: State, axes: Any) -> State:
    """The state with its rows on axis 0 of every array."""
    return _map(lambda x, axis: jnp.moveaxis(x, axis, 0), state, axes)


def rows_back(state: State, axes: Any) -> State:
    """The inverse of `rows_first`."""
    return _map(lambda x, axis: jnp.moveaxis(x, 0, axis), state, axes)


def _map(function: Callable[[Array, int], Array], state: State, axes: Any) -> State:
    return None if state is None else jax.tree.map(function, state, axes)


def _split(x: Array, axis: int, count: int) -> Array:
    before, rows, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    return jnp.moveaxis(x.reshape(*before, rows // count, count, *after), axis + 1, 0)


def _join(x: Array, axis: int) -> Array:
    x = jnp.moveaxis(x, 0, axis + 1)
    before, rows, count, after = x.shape[:axis], *x.shape[axis : axis + 2], x.shape[axis + 2 :]
    return x.reshape(*before, rows * count, *after)
