"""Adam for the rows of new tokens, with one second moment for each column of a table.

    m_t = b1 m_{t-1} + (1 - b1) g_t
    v_t = b2 v_{t-1} + (1 - b2) mean over rows of g_t^2
    step = m_t / (1 - b1^t) / (sqrt(v_t / (1 - b2^t)) + eps)

At every token the softmax pushes the logit of each other token down, so every row of a head has a
small gradient that hardly changes its direction. Adam normalises each number by its own gradients:
a row whose token never occurs drifts as fast as one whose token does, and the probability of all
rare tokens falls. Normalised by its column, a row moves in proportion to its gradient.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mmrec_jax.typing import Array


class ScaleByColumnRmsState(NamedTuple):
    """The averages of gradients [rows, D] and, of each table, of their squares [1, D]."""

    count: Array  # type: ignore[assignment]  # int32: updates done
    m: Any
    v: Any


def scale_by_column_rms(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Rescales the gradients of tables by the rule above; neither learning rate nor decay."""

    def init(params: Any) -> ScaleByColumnRmsState:
        def squares(table: Array) -> Array:
            return jnp.zeros((1, *table.shape[1:]), table.dtype)

        zeros = optax.tree.zeros_like(params)
        return ScaleByColumnRmsState(jnp.zeros((), jnp.int32), zeros, jax.tree.map(squares, params))

    def update(
        gradients: Any, state: ScaleByColumnRmsState, params: Any = None
    ) -> tuple[Any, ScaleByColumnRmsState]:
        del params
        count = optax.safe_increment(state.count)
        squares = jax.tree.map(lambda g: jnp.mean(jnp.square(g), axis=0, keepdims=True), gradients)
        m = optax.tree.update_moment(gradients, state.m, b1, 1)
        v = optax.tree.update_moment(squares, state.v, b2, 1)
        mean = optax.tree.bias_correction(m, b1, count)
        square = optax.tree.bias_correction(v, b2, count)
        steps = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), mean, square)
        return steps, ScaleByColumnRmsState(count, m, v)

    return optax.GradientTransformation(init, update)
