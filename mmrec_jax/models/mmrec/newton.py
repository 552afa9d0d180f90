"""The core formula solved in parallel over time: Newton's method on the states between chunks.

Time is cut into n chunks of C tokens. All chunks run side by side from guessed first states, which
costs C steps instead of n C, and each also returns the derivative D of its last state with respect
to its first (diagonal, a product of Jacobians). Newton's method then moves all first states at
once: with F_j(s_j) the last state of chunk j,

    s_{j+1} <- F_j(s_j) + D_j (s_j_new - s_j)

a linear recurrence over the chunks. Inside a chunk the formula holds exactly by construction, so
the residual is |s_{j+1} - F_j(s_j)| at the borders alone. Two properties make this safe where
Newton's method over single tokens (DEER, arXiv 2309.12252; ParaRNN, arXiv 2510.21450) fails:

* where a chunk forgets most of its first state, the equations at the borders are close to linear
  and few passes are needed, also where single Jacobians are far from 1;
* the first state is known, so after k passes the first k borders are exact whatever D was: n
  passes always suffice. D may therefore be clipped, and a step that overflows replaced by F_j(s_j)
  itself.

The first holds for language models: 3 to 12 passes. It fails where the task is to forget nothing,
as in a model that has learnt parity: a chunk's last state is then a step function of its first, D
is 0 almost everywhere, each pass moves the known states on by one chunk, and n passes are as many
steps as the sequential solve takes, each of them n times as wide. Hence the budget, after which a
row counts as unsolved. `benchmarks/README.md` has the passes of trained models by T.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmrec_jax.models import sequence
from mmrec_jax.models.mmrec.scan import linear_scan
from mmrec_jax.typing import Array

# A state that far off its chunk's formula, relative to 1 + |state|, counts as solved: a few units
# of least precision. It is a property of each row alone, so rows do not see each other.
_ULPS = 8

# A chunk's derivative beyond this is no guide to its last state, and products of them overflow.
# With 1 a trained gate of |w| = 2 needed twice the iterations; between 2 and infinity it is flat.
_MAX_SLOPE = 2.0


class Solution(NamedTuple):
    """Result of `solve`."""

    h: Array  # [B, T, E]
    iterations: Array  # int32 scalar: passes over the chunks
    residual: Array  # scalar: largest residual, relative to 1 + |state|
    solved: Array  # [B] bool: the row's residual is small (NaN is not)


def solve(
    cell: Callable[..., tuple[Array, Array]],
    inputs: tuple[Array, ...],
    h0: Array,
    passes: int | None = None,
) -> Solution:
    """Solves `h_t = f_t(h_{t-1})` for a recurrence that is elementwise in h.

    `cell` is `(h [..., E], *inputs at t) -> f_t(h), its derivative`; inputs are `[B, T, E]` or
    `[B, T, 1]`, h0 `[B, E]`; `passes` the most over the chunks, n when None. The caller must not
    use rows that are not solved. Where devices share a row each has n of its chunks.
    """
    batch, length = inputs[0].shape[:2]
    chunk = 1 << max(round(math.log2(length) / 2), 0)  # near the square root of T
    n = -(-length // chunk)
    borders = n * sequence.parts()
    most = borders if passes is None else min(passes, borders)
    tolerance = _ULPS * jnp.finfo(h0.dtype).eps

    def split(x: Array) -> Array:
        """[B, T, E] -> [C, B, n, E]."""
        x = jnp.pad(x, ((0, 0), (0, n * chunk - length), (0, 0)))
        return x.reshape(batch, n, chunk, -1).transpose(2, 0, 1, 3)

    # The tail of the last chunk leaves the state as it is, for the device that comes after.
    inside = split(jnp.ones((batch, length, 1), bool))
    chunks = (inside, *(split(x) for x in inputs))

    def sweep(first: Array) -> tuple[Array, Array, Array]:
        """From first states [B, n, E]: all states [C, B, n, E]; what first states should be; D.

        The latter two are of the chunk before, of the state before the row h0 and 0.
        """

        def step(carry: tuple[Array, Array], at: tuple[Array, ...]) -> Any:
            inside, *rest = at
            h, slope = cell(carry[0], *rest)
            if sequence.parts() > 1 and n * chunk > length:
                h, slope = jnp.where(inside, h, carry[0]), jnp.where(inside, slope, 1)
            return (h, carry[1] * slope), h

        (last, derivative), h = jax.lax.scan(step, (first, jnp.ones_like(first)), chunks)
        return h, sequence.shift(last, h0), sequence.shift(derivative, None)

    def gap_of(first: Array, reached: Array) -> Array:
        """Residual of each row, [B]."""
        gap = jnp.abs(first - reached) / (1 + jnp.abs(reached))
        return sequence.largest(jnp.max(gap, axis=(1, 2)))

    def unsolved(carry: tuple[Array, ...]) -> Array:
        iteration, residual = carry[0], carry[1]
        # `not <=` rather than `>`: NaN counts as unsolved.
        return (iteration < most) & ~jnp.all(residual <= tolerance)

    def iterate(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        iteration, residual, first, h, reached, derivative = carry
        # In terms of the corrections d_j: d_0 = 0, d_{j+1} = D_j d_j + (F_j - s_{j+1}).
        slope = jnp.clip(jnp.nan_to_num(derivative), -_MAX_SLOPE, _MAX_SLOPE)
        correction, _ = linear_scan(slope, reached - first)
        moved = first + correction
        moved = jnp.where(jnp.isfinite(moved), moved, jnp.nan_to_num(reached))
        solved = (residual <= tolerance)[:, None, None]
        first = jnp.where(solved, first, moved)
        h, reached, derivative = sweep(first)
        return iteration + 1, gap_of(first, reached), first, h, reached, derivative

    first = jnp.broadcast_to(h0[:, None], (batch, n, h0.shape[-1]))
    h, reached, derivative = sweep(first)
    carry: Any = (jnp.ones((), jnp.int32), gap_of(first, reached), first, h, reached, derivative)
    if most > 1:
        carry = jax.lax.while_loop(unsolved, iterate, carry)
    iterations, residual, _, h, _, _ = carry
    h = h.transpose(1, 2, 0, 3).reshape(batch, n * chunk, -1)[:, :length]
    return Solution(h, iterations, jnp.max(residual), residual <= tolerance)
