"""Updates of parameters that are kept in bfloat16.

Rounded to the nearest number most updates would be lost: bfloat16 keeps a number to 1/256 of its
size, and a step is often a thousandth of it. So the sum is rounded up or down at random, with
probabilities that make its mean exact.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.typing import Array


def apply_updates(params: Any, updates: Any, key: Array) -> Any:
    """As `optax.apply_updates`; bfloat16 parameters are rounded at random, a function of `key`."""
    leaves, tree = jax.tree.flatten(params)
    salts = jax.random.bits(key, (len(leaves), 2), jnp.uint32)
    results = [
        _rounded(p.astype(jnp.float32) + u.astype(jnp.float32), salt)
        if p.dtype == jnp.bfloat16
        else (p + u).astype(p.dtype)
        for p, u, salt in zip(leaves, jax.tree.leaves(updates), salts, strict=True)
    ]
    return jax.tree.unflatten(tree, results)


def _rounded(x: Array, salt: Array) -> Array:
    """float32 to bfloat16, its upper half: a random lower half is added and then cut off."""
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
    cut = (bits + (_hash(x.shape, salt) >> 16)) & np.uint32(0xFFFF0000)
    finite = jnp.isfinite(x)
    return jnp.where(finite, jax.lax.bitcast_convert_type(cut, jnp.float32), x).astype(jnp.bfloat16)


def _hash(shape: tuple[int, ...], salt: Array) -> Array:
    """Random uint32 of each entry's index (MurmurHash3's last steps).

    Elementwise, so that it is fused into the update: numbers of `jax.random` would be an array of
    twice the parameter's size.
    """
    index = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = np.uint32(math.prod(shape[axis + 1 :]) % 2**32)
        index = index + jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * stride
    x = index * np.uint32(0x9E3779B1) + salt[0]
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = ((x ^ (x >> 13)) + salt[1]) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
