"""Adam for the rows of new tokens, of which most occur seldom and some never.

    m_t = b1 m_{t-1} + (1 - b1) g_t
    v_t = b2 v_{t-1} + (1 - b2) mean over rows of g_t^2      one number a column
    step = m_t / (1 - b1^t) / (sqrt(v_t / (1 - b2^t)) + eps)

A head gives every row a gradient at every token: the softmax pushes it away a little. Adam divides
by the root mean square of each number's own gradients and makes of that push, which points the same
way at every step, steps as large as those of rows that occur, so that all tokens that do not occur
become ever less likely. With a second moment that the rows of a column share, a row moves by as
much as its gradient is larger than those of others.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mmrec_jax.typing import Array


class ScaleByColumnsState(NamedTuple):
    """The averages of gradients [rows, D] and, of each table, of their squares [1, D]."""

    count: Array  # type: ignore[assignment]  # int32: updates done
    m: Any
    v: Any


def scale_by_columns(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Rescales the gradients of tables by the rule above; neither learning rate nor decay."""

    def init(params: Any) -> ScaleByColumnsState:
        def squares(table: Array) -> Array:
            return jnp.zeros((1, *table.shape[1:]), table.dtype)

        zeros = optax.tree.zeros_like(params)
        return ScaleByColumnsState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(squares, params))

    def update(
        gradients: Any, state: ScaleByColumnsState, params: Any = None
    ) -> tuple[Any, ScaleByColumnsState]:
        del params
        count = optax.safe_increment(state.count)
        squares = jax.tree.map(lambda g: jnp.mean(jnp.square(g), axis=0, keepdims=True), gradients)
        m = optax.tree.update_moment(gradients, state.m, b1, 1)
        v = optax.tree.update_moment(squares, state.v, b2, 1)
        means, roots = (
            optax.tree.bias_correction(m, b1, count),
            optax.tree.bias_correction(v, b2, count),
        )
        steps = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), means, roots)
        return steps, ScaleByColumnsState(count, m, v)

    return optax.GradientTransformation(init, update)
