"""The ways to solve `h_t = a_t h_{t-1} + b_t` over time: the backends of `scan.py`.

All take `a [B, T, E]`, `b [B, T, E]`, `h0 [B, E]` (one dtype, float32 at least) and `reverse`, and
return `h [B, T, E]`. None is ever differentiated: their gradient is the rule in `scan.py`.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from mmrec_jax.typing import Array

# Tokens solved side by side by `chunked`. On two CPU cores 16 to 64 were equally fast and 256 up to
# twice as slow; the largest of the fast ones leaves the fewest steps in sequence.
CHUNK = 64


def sequential(a: Array, b: Array, h0: Array, reverse: bool) -> Array:
    """One token after the other (`jax.lax.scan`): the definition itself."""

    def step(h: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        a_t, b_t = inputs
        h = a_t * h + b_t
        return h, h

    time_major = (a.swapaxes(0, 1), b.swapaxes(0, 1))
    _, h = jax.lax.scan(step, h0, time_major, reverse=reverse)
    return h.swapaxes(0, 1)


def associative(a: Array, b: Array, h0: Array, reverse: bool) -> Array:
    """All tokens at once, in log2 T rounds (`jax.lax.associative_scan`)."""

    def combine(earlier: tuple[Array, Array], later: tuple[Array, Array]) -> tuple[Array, Array]:
        # Order matters: the later element acts on the result of the earlier one.
        return later[0] * earlier[0], later[0] * earlier[1] + later[1]

    first = -1 if reverse else 0
    b = b.at[:, first].add(a[:, first] * h0)
    return jax.lax.associative_scan(combine, (a, b), reverse=reverse, axis=1)[1]


def chunked(a: Array, b: Array, h0: Array, reverse: bool) -> Array:
    """One chunk of time after the other, `associative` inside each: for 32K tokens and more.

    Chunks are sliced from `a` and `b` and written into `h`, so besides those three it
    needs memory for one chunk, whatever T is. Nothing inside a chunk is kept for the backward
    pass (the rule in `scan.py` keeps `a`, `h0` and `h` alone), which makes it rematerialised
    by construction; `jax.checkpoint` here would have nothing to drop.
    """
    length = b.shape[1]
    chunk = min(CHUNK, length)
    n, rest = divmod(length, chunk)  # the rest comes last in scan order

    def solve(start: Array | int, size: int, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        h, last = carry
        a_c, b_c = (jax.lax.dynamic_slice_in_dim(x, start, size, axis=1) for x in (a, b))
        h_c = associative(a_c, b_c, last, reverse)
        h = jax.lax.dynamic_update_slice_in_dim(h, h_c, start, axis=1)
        return h, h_c[:, 0 if reverse else -1]

    def step(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        return solve(length - (j + 1) * chunk if reverse else j * chunk, chunk, carry)

    carry = jax.lax.fori_loop(0, n, step, (jnp.zeros_like(b), h0))
    if rest:
        carry = solve(0 if reverse else n * chunk, rest, carry)
    return carry[0]


BACKENDS: Mapping[str, Callable[[Array, Array, Array, bool], Array]] = {
    "sequential": sequential,
    "associative": associative,
    "chunked": chunked,
}
