"""Model FLOP utilisation, against a matrix product measured on this machine."""

import time

import jax
import jax.numpy as jnp

from mmrec_jax.models.api import LanguageModel

_SIDE = 1024
_REPEATS = 5


def training_flops_per_token(model: LanguageModel, trained: int, frozen: int, length: int) -> float:
    """Floating-point operations of forward and backward pass, recomputation not counted.

    6 for each trained parameter (the tied embedding counts once: the lookup is free, the logits are
    not), 4 for a frozen one, which has no gradient of its own, and three times what the family
    counts beside its parameters in rows of `length` tokens.
    """
    return 6.0 * trained + 4.0 * frozen + 3 * model.mixing_flops(length)


def matmul_flops_per_second(dtype: str) -> float:
    """Rate of a square matrix product of side 1024 on the default device, best of five."""
    x = jnp.ones((_SIDE, _SIDE), dtype)
    product = jax.jit(jnp.dot)
    product(x, x).block_until_ready()
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        product(x, x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2.0 * _SIDE**3 / best
