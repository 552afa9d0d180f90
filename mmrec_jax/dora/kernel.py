"""The norm of each column of W + s A B; kernels are matrices [*layers, inputs, outputs]."""

from typing import Any

import jax.numpy as jnp

from mmrec_jax.typing import Array, Float


def wide(dtype: Any) -> Any:
    """The dtype that adapters and norms have beside weights of `dtype`: float32 at least."""
    return jnp.promote_types(dtype, jnp.float32)


def column_norm(matrix: Float[Array, "*l i o"]) -> Float[Array, "*l 1 o"]:
    """Euclidean length over the inputs, float32 at least; 0, with gradient 0, for a zero column."""
    return _sqrt(column_squares(matrix))


def column_squares(matrix: Float[Array, "*l i o"]) -> Float[Array, "*l 1 o"]:
    """The square of `column_norm`."""
    return jnp.sum(jnp.square(matrix.astype(wide(matrix.dtype))), axis=-2, keepdims=True)


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
    dtype = wide(matrix.dtype)
    projected = jnp.einsum("...io,...ir->...ro", matrix, a, preferred_element_type=dtype)
    cross = jnp.sum(projected * b, axis=-2, keepdims=True)
    gram = jnp.swapaxes(a, -1, -2) @ a
    square = jnp.sum(b * (gram @ b), axis=-2, keepdims=True)
    # The three terms can cancel to a little below zero.
    return _sqrt(jnp.maximum(squares + 2 * scale * cross + scale**2 * square, 0))


def magnitude_ratio(m: Array, norm: Array) -> Array:
    """`m / norm`, and 1 for a column of zeros: it has no direction that could be scaled."""
    there = norm > 0
    return jnp.where(there, m / jnp.where(there, norm, 1), 1)


def _sqrt(x: Array) -> Array:
    there = x > 0
    return jnp.where(there, jnp.sqrt(jnp.where(there, x, 1)), 0)
