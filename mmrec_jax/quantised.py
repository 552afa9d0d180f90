"""Matrices of 4 or 8 bits a number, which become floats again where they are used.

    nf4    two codes a byte, one scale for 64 inputs of an output (NormalFloat, arXiv 2305.14314)
    int8   one scale for all inputs of an output; of an embedding, for each row

A scale is bfloat16: the largest number that it is for, of nf4, and 2 / 255 of it, of int8. Codes
are chosen with the rounded scale, so a number is off by half a step of its grid at most. A nf4
block is the largest even divisor of the inputs up to 64: there is none that is cut off, and an odd
number of inputs is refused.
"""

import functools
import math
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.errors import UserError
from mmrec_jax.typing import Array, Float, Int

Kind = Literal["nf4", "int8"]

_BLOCK = 64
# The quantiles of a normal distribution that QLoRA's appendix E lists.
_NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    np.float32,
)
_BORDERS = (_NF4[1:] + _NF4[:-1]) / 2
_BOUND = {"nf4": 1.0, "int8": 127.5}  # codes times this times the scale reach the largest number
_LEAST_SCALE = float(np.finfo(np.float32).tiny) ** 0.5  # below it a block is zeros


@flax.struct.dataclass
class Quantised:
    """A matrix `[*layers, inputs, outputs]`, or an embedding [V, D], in few bits.

    One leaf to `mmrec_jax.tree`; JAX itself sees two arrays.
    """

    # nf4: uint8 [*layers, inputs / 2, outputs], input 2 i in the lower half of a byte and 2 i + 1
    # in the upper one. int8: int8, in the shape of the matrix.
    codes: Array
    scales: Array  # bfloat16 [*layers, inputs / block, outputs]; of an embedding [V, 1]
    kind: Kind = flax.struct.field(pytree_node=False)
    dtype: Any = flax.struct.field(pytree_node=False)  # of the matrix that it stands for

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix."""
        *layers, inputs, outputs = self.codes.shape
        return (*layers, 2 * inputs if self.kind == "nf4" else inputs, outputs)

    @property
    def ndim(self) -> int:
        """Of the matrix."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Numbers in the matrix."""
        return math.prod(self.shape)


def quantise(array: Float[Array, "*l i o"], kind: Kind, axis: Literal[-2, -1] = -2) -> Quantised:
    """The matrix in few bits; `axis` is the one along which numbers share a scale.

    Raises:
      UserError: nf4 of an odd number of inputs.
    """
    inputs = array.shape[-2]
    if kind == "nf4" and inputs % 2:
        raise UserError(f"nf4 packs two inputs into a byte; {list(array.shape)} has {inputs}")
    return _quantise(array, kind, axis)


@functools.partial(jax.jit, static_argnames=("kind", "axis"))
def _quantise(array: Array, kind: Kind, axis: int) -> Quantised:
    *layers, inputs, outputs = array.shape
    if layers:  # one at a time, so that what is computed on the way is small
        stacked: Quantised = jax.lax.map(lambda one: _quantise(one, kind, axis), array)
        return stacked
    block = _block(inputs) if kind == "nf4" else inputs
    groups = inputs // block if axis == -2 else inputs
    x = array.astype(jnp.float32).reshape(groups, inputs // groups, outputs)
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True)
    scales = (largest / _BOUND[kind]).astype(jnp.bfloat16)
    scales = jnp.where(scales < _LEAST_SCALE, 1, scales)
    ratio = (x / scales.astype(jnp.float32)).reshape(array.shape)
    if kind == "int8":
        codes = jnp.clip(jnp.round(ratio), -128, 127).astype(jnp.int8)
    else:
        nearest = sum((ratio > border).astype(jnp.uint8) for border in _BORDERS)
        pairs = jnp.asarray(nearest).reshape(inputs // 2, 2, outputs)
        codes = pairs[:, 0] | pairs[:, 1] << 4
    return Quantised(codes, jnp.squeeze(scales, -2), kind, array.dtype)


def _block(inputs: int) -> int:
    return max(size for size in range(2, _BLOCK + 1, 2) if inputs % size == 0)


def dequantise(matrix: Array | Quantised, dtype: Any = None) -> Array:
    """The matrix in `dtype`, its own if None: code times scale in float32, rounded once."""
    if not isinstance(matrix, Quantised):
        return matrix if dtype is None else matrix.astype(dtype)
    *layers, inputs, outputs = matrix.shape
    if matrix.kind == "nf4":
        halves = jnp.stack([matrix.codes & 15, matrix.codes >> 4], axis=-2)
        values = _nf4_values(halves)
    else:
        values = matrix.codes.astype(jnp.float32)
    groups = matrix.scales.shape[-2]
    values = values.reshape(*layers, groups, inputs // groups, outputs)
    values = values * matrix.scales[..., None, :].astype(jnp.float32)
    return values.reshape(*layers, inputs, outputs).astype(matrix.dtype if dtype is None else dtype)


def _nf4_values(codes: Array) -> Array:
    """The table's number at each code; by choices between halves where gathers are slow."""
    return jax.lax.platform_dependent(
        codes, tpu=_chosen, default=lambda codes: jnp.asarray(_NF4)[codes]
    )


def _chosen(codes: Array) -> Array:
    values: list[Any] = list(_NF4)
    for bit in range(4):
        upper = (codes >> bit & 1).astype(bool)
        values = [jnp.where(upper, b, a) for a, b in zip(values[::2], values[1::2], strict=True)]
    chosen: Array = values[0]
    return chosen


@jax.custom_vjp
def _product(x: Array, matrix: Quantised) -> Array:
    return x @ dequantise(matrix, x.dtype)


def _product_forward(x: Array, matrix: Quantised) -> tuple[Array, Quantised]:
    return _product(x, matrix), matrix


def _product_backward(matrix: Quantised, g: Array) -> tuple[Array, None]:
    # The barrier keeps XLA from holding on to what the forward pass had dequantised.
    g, matrix = jax.lax.optimization_barrier((g, matrix))
    return g @ dequantise(matrix, g.dtype).T, None


_product.defvjp(_product_forward, _product_backward)


def product(x: Float[Array, "... i"], matrix: Array | Quantised) -> Float[Array, "... o"]:
    """`x @ matrix` in the dtype of x; no gradient reaches a quantised matrix.

    Its codes alone wait for the backward pass, which dequantises them again.
    """
    if isinstance(matrix, Quantised):
        return _product(x, matrix)
    return x @ matrix.astype(x.dtype)


def rows(table: Array | Quantised, index: Int[Array, "..."], dtype: Any = None) -> Array:
    """Rows [..., D] of a table [V, D] in `dtype`, its own if None; no others are dequantised."""
    return dequantise(jax.tree.map(lambda x: x[index], table), dtype)


def row_products(x: Float[Array, "... D"], table: Array | Quantised) -> Float[Array, "... V"]:
    """Of each row of a table with x, in float32 at least; the table is rounded to the dtype of x.

    An int8 table's codes are exact in every dtype: its scales are multiplied with afterwards.
    """
    if isinstance(table, Quantised):
        return _row_products(x, table)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.dot(x, table.T.astype(x.dtype), preferred_element_type=wide)


@jax.custom_vjp
def _row_products(x: Array, table: Quantised) -> Array:
    wide = jnp.promote_types(x.dtype, jnp.float32)
    products = jnp.dot(x, table.codes.T.astype(x.dtype), preferred_element_type=wide)
    return products * table.scales.astype(wide).reshape((1,) * (products.ndim - 1) + (-1,))


def _row_products_forward(x: Array, table: Quantised) -> tuple[Array, tuple[Array, Quantised]]:
    return _row_products(x, table), (x[..., :0], table)


def _row_products_backward(kept: tuple[Array, Quantised], g: Array) -> tuple[Array, None]:
    like, table = kept
    g = g * table.scales.astype(g.dtype).reshape((1,) * (g.ndim - 1) + (-1,))
    # In the dtype of x: JAX's own rule copies the whole table into float32.
    codes = table.codes.astype(like.dtype)
    found = jnp.dot(g.astype(like.dtype), codes, preferred_element_type=g.dtype)
    return found.astype(like.dtype), None


_row_products.defvjp(_row_products_forward, _row_products_backward)
