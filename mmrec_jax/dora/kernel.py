"""The norm of each column of W + s A B; kernels are matrices [*layers, inputs, outputs]."""

from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.quantised import Quantised, dequantise
from mmrec_jax.typing import Array, Float


def wide(dtype: Any) -> Any:
    """The dtype that adapters and norms have beside weights of `dtype`: float32 at least."""
    return jnp.promote_types(dtype, jnp.float32)


def column_norm(matrix: Float[Array, "*l i o"] | Quantised) -> Float[Array, "*l 1 o"]:
    """Euclidean length over the inputs, float32 at least; 0, with gradient 0, for a zero column."""
    return _sqrt(column_squares(matrix))


def column_squares(matrix: Float[Array, "*l i o"] | Quantised) -> Float[Array, "*l 1 o"]:
    """The square of `column_norm`; of quantised layers one at a time is dequantised."""
    if isinstance(matrix, Quantised) and matrix.ndim > 2:
        squares: Array = jax.lax.map(column_squares, matrix)
        return squares
    values = dequantise(matrix, wide(matrix.dtype))
    return jnp.sum(jnp.square(values), axis=-2, keepdims=True)


def factored_norm(
    matrix: Float[Array, "*l i o"],
    a: Float[Array, "*l i r"],
    b: Float[Array, "*l r o"],
    scale: float,
    squares: Float[Array, "*l 1 o"],
) -> Float[Array, "*l 1 o"]:
    """`column_norm(W + s A B)` from products of the size of A and B.

        norm^2 = |W|^2 + 2 s <W^T A, B> + s^2 B^T (A^T A) B      of each column

    `squares` are `column_squares(W)`, which do not change in training.
    """
    projected = _projected(matrix, a)
    cross = jnp.sum(projected * b, axis=-2, keepdims=True)
    gram = jnp.swapaxes(a, -1, -2) @ a
    square = jnp.sum(b * (gram @ b), axis=-2, keepdims=True)
    # The three terms can cancel to a little below zero.
    return _sqrt(jnp.maximum(squares + 2 * scale * cross + scale**2 * square, 0))


def _projected(matrix: Array, a: Array) -> Array:
    """`A^T W` in the dtype of A.

    A narrow W is not widened for it, which would take a copy of it in float32: A is the sum of what
    W's dtype holds of it and what it holds of the rest.
    """
    if matrix.dtype == a.dtype:
        return jnp.swapaxes(a, -1, -2) @ matrix
    high = a.astype(matrix.dtype)
    parts = jnp.concatenate([high, (a - high.astype(a.dtype)).astype(matrix.dtype)], axis=-1)
    both = jnp.einsum("...io,...ir->...ro", matrix, parts, preferred_element_type=a.dtype)
    of_high, of_rest = jnp.split(both, 2, axis=-2)
    return of_high + of_rest


def magnitude_ratio(m: Array, norm: Array) -> Array:
    """`m / norm`, and 1 for a column of zeros: it has no direction that could be scaled."""
    there = norm > 0
    return jnp.where(there, m / jnp.where(there, norm, 1), 1)


def _sqrt(x: Array) -> Array:
    there = x > 0
    return jnp.where(there, jnp.sqrt(jnp.where(there, x, 1)), 0)
