"""Kernels of any layout as matrices, and the norm of each column of W + s A B.

A layout is a string with a letter for each axis of the kernel: `l` for an axis of stacked layers,
`i` for one that is contracted with the input, `o` for one of the output. `io` is a Dense kernel,
`lio` that of layers scanned over, `ioo` and `iio` are DenseGeneral's with several features or
contracted axes, `oi` a transposed matrix.
"""

import math
from typing import Any

import jax.numpy as jnp

from mmrec_jax.errors import UserError
from mmrec_jax.typing import Array, Float

# The parameters of layer i of the model are index i of axis 0 of every leaf under this name.
_STACKED = "blocks"


def layout_of(name: str, shape: tuple[int, ...], given: str | None = None) -> str:
    """The layout of a kernel: `given`, else `io`, behind an axis of layers under `blocks`.

    Raises:
      UserError: it is no layout of this kernel, whose `name` is a path such as
        `blocks/ffn/down/kernel`.
    """
    layout = given or ("lio" if name.split("/")[0] == _STACKED else "io")
    if len(layout) == len(shape) and {"i", "o"} <= set(layout) <= set("lio"):
        return layout
    raise UserError(
        f"adapters of {name} {list(shape)}: its axes={layout!r} must name each of its "
        f"{len(shape)} axes: l, stacked layers; i, summed over; o, output; such as axes='ioo'"
    )


def matrix_shape(shape: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """`[*layers, inputs, outputs]` of a kernel."""
    sizes = {kind: [n for n, x in zip(shape, layout, strict=True) if x == kind] for kind in "lio"}
    return (*sizes["l"], math.prod(sizes["i"]), math.prod(sizes["o"]))


def to_matrix(kernel: Array, layout: str) -> Array:
    """A kernel as `[*layers, inputs, outputs]`."""
    ordered = jnp.transpose(kernel, _order(layout))
    return ordered.reshape(matrix_shape(kernel.shape, layout))


def from_matrix(matrix: Array, layout: str, shape: tuple[int, ...]) -> Array:
    """The inverse of `to_matrix` for a kernel of this shape."""
    order = _order(layout)
    ordered = matrix.reshape([shape[axis] for axis in order])
    return jnp.transpose(ordered, sorted(range(len(order)), key=order.__getitem__))


def _order(layout: str) -> list[int]:
    return sorted(range(len(layout)), key=lambda axis: "lio".index(layout[axis]))


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
