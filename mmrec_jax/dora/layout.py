"""Kernels of any layout as matrices: which axes are layers, which are summed over, which remain.

A layout is a string with a letter for each axis of the kernel: `l` for an axis of stacked layers,
`i` for one that is contracted with the input, `o` for one of the output. `io` is a Dense kernel,
`lio` that of layers scanned over, `ioo` and `iio` are DenseGeneral's with several features or
contracted axes, `oi` a transposed matrix.
"""

import math

import jax.numpy as jnp

from mmrec_jax.errors import UserError
from mmrec_jax.typing import Array

# The parameters of layer i of the model are index i of axis 0 of every leaf under this name.
_STACKED = "blocks"


def layout_of(name: str, shape: tuple[int, ...], given: str | None = None) -> str:
    """The layout of a kernel.

    Args:
      name: its path, such as `blocks/ffn/down/kernel`.
      shape: its shape.
      given: the layout that a rule states; None: `io`, behind an axis of layers under `blocks`.

    Raises:
      UserError: `given` is no layout of this kernel, or the kernel has so many axes that its
        layout must be given.
    """
    stacked = name.split("/")[0] == _STACKED
    layout = given or ("lio" if stacked else "io")
    if len(layout) == len(shape) and {"i", "o"} <= set(layout) <= set("lio"):
        return layout
    if given:
        wanted = f"a letter of l, i, o for each of its {len(shape)} axes, at least one i and one o"
        raise UserError(f"adapters of {name} {list(shape)}: axes={given!r}; it must have {wanted}")
    raise UserError(
        f"adapters of {name} {list(shape)}: say which of its axes are stacked layers (l), summed "
        'over (i) and output features (o), such as axes="ioo"'
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
