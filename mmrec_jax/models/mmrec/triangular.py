"""Inverse of unit lower-triangular matrices `I + A`, built from matrix products only.

Keys of a language model are correlated, and then the textbook product `(I - A)(I + A^2)...`
cancels catastrophically in float32. It is exact enough only in small blocks; larger ones are put
together by halves: inv [[P, 0], [A21, Q]] = [[inv P, 0], [-inv Q A21 inv P, inv Q]].
"""

import jax
import jax.numpy as jnp

from mmrec_jax.typing import Array

# Largest block that the product form may invert: error at most 3e-6 on fully correlated keys.
_BLOCK = 8


@jax.custom_vjp
def inverse_unit_lower(a: Array) -> Array:
    """`(I + a)^{-1}` for strictly lower-triangular `a [..., C, C]`, any C.

    The gradient is that of a matrix inverse, `-X^T g X^T`, instead of that of the construction.
    """
    size = a.shape[-1]
    if size <= _BLOCK:
        return _product_form(a)
    half = -(-size // 2)
    upper = inverse_unit_lower(a[..., :half, :half])
    lower = inverse_unit_lower(a[..., half:, half:])
    corner = -lower @ (a[..., half:, :half] @ upper)
    top = jnp.concatenate([upper, jnp.zeros_like(a[..., :half, half:])], axis=-1)
    return jnp.concatenate([top, jnp.concatenate([corner, lower], axis=-1)], axis=-2)


def _product_form(a: Array) -> Array:
    """`(I - a)(I + a^2)(I + a^4)...`: exact in as many factors as log2 of the size."""
    identity = jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)
    result, power, degree = identity - a, a, 2
    while degree < a.shape[-1]:
        power = power @ power
        result = result @ (identity + power)
        degree *= 2
    return result


def _forward(a: Array) -> tuple[Array, Array]:
    inverse = inverse_unit_lower(a)
    return inverse, inverse


def _backward(inverse: Array, g: Array) -> tuple[Array]:
    transposed = inverse.swapaxes(-1, -2)
    return (jnp.tril(-transposed @ g @ transposed, -1),)


inverse_unit_lower.defvjp(_forward, _backward)
