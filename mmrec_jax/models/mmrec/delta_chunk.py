"""The gated delta rule in chunks of C tokens, by matrix products, with its gradient by hand.

With `G = cumsum(log alpha)` inside a chunk and M the memory before it (arXiv 2412.06464):

    A = beta_i (k_i k_j) exp(G_i - G_j) for j < i,    X = (I + A)^{-1}
    values = X beta (v - e^G k M),    r = e^G q M + tril(q k^T e^{G_i - G_j}) values
    M' = e^{G_C} M + (e^{G_C - G} k)^T values

`delta_chunks` is plain JAX: one loop over the chunks for the memories, all else for all of them at
once. The mathematics of a chunk takes any leading axes: kernels use it (`delta_kernel.py`), too.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmrec_jax.typing import Array


class Chunk(NamedTuple):
    """What the tokens of a chunk bring: q, k `[..., C, S]`, v `[..., C, K]`, the others `[..., C]`.

    `total` is G; `document` numbers the documents of the chunk, 0 the one that goes on in it. Where
    one begins, log alpha counts as 0 in G: what it forgets, it forgets by its number.
    """

    q: Array
    k: Array
    v: Array
    total: Array
    beta: Array
    document: Array


class Links(NamedTuple):
    """How the tokens of a chunk see each other, the memory before and the one after."""

    decay: Array  # [..., C, C] e^{G_i - G_j} for j <= i in one document, else 0
    from_start: Array  # [..., C, 1] e^{G_i}, 0 after a document's begin
    to_end: Array  # [..., C, 1] e^{G_C - G_i}, 0 before the last begin
    whole: Array  # [..., 1] e^{G_C}, 0 if a document begins
    earlier: Array  # [..., C, C] j < i


class Solved(NamedTuple):
    """What of a chunk needs no memory."""

    scores: Array  # [..., C, C] (q_i k_j) decay
    inverse: Array | None  # [..., C, C] X; None without error correction


def dot(
    a: Array,
    b: Array,
    dtype: jnp.dtype,
    left: bool = False,
    right: bool = False,
    precision: jax.lax.Precision | None = None,
) -> Array:
    """`a @ b` over leading axes, of operands rounded to `dtype`, `left` or `right` transposed."""
    batch = tuple(range(a.ndim - 2))
    contracted = ((a.ndim - 2 if left else a.ndim - 1,), (b.ndim - 1 if right else b.ndim - 2,))
    return jax.lax.dot_general(
        a.astype(dtype),
        b.astype(dtype),
        (contracted, (batch, batch)),
        precision=precision,
        preferred_element_type=jnp.promote_types(dtype, jnp.float32),
    )


def links(chunk: Chunk) -> Links:
    """Masked inside the exponent: exp of a large positive difference would be infinite."""
    total, document = chunk.total, chunk.document
    size = total.shape[-1]
    square = (*total.shape, size)
    row = jax.lax.broadcasted_iota(jnp.int32, square, total.ndim - 1)
    column = jax.lax.broadcasted_iota(jnp.int32, square, total.ndim)
    same = (row >= column) & (document[..., :, None] == document[..., None, :])
    decay = jnp.exp(jnp.where(same, total[..., :, None] - total[..., None, :], -jnp.inf))
    last = jax.lax.broadcasted_iota(jnp.int32, total.shape, total.ndim - 1) == size - 1
    end = jnp.sum(jnp.where(last, total, 0), axis=-1, keepdims=True)
    final = jnp.max(document, axis=-1, keepdims=True)
    from_start = jnp.where(document == 0, jnp.exp(total), 0)
    to_end = jnp.exp(jnp.where(document == final, end - total, -jnp.inf))
    whole = jnp.where(final == 0, jnp.exp(end), 0)
    return Links(decay, from_start[..., None], to_end[..., None], whole, row > column)


def solve(
    chunk: Chunk,
    link: Links,
    inverse: Callable[[Array], Array] | None,
    multiply: Callable[..., Array],
) -> Solved:
    """`inverse`: of `I + A` for strictly lower-triangular A; None: no error correction.

    `multiply` is `dot` with a dtype.
    """
    q, k = chunk.q, chunk.k
    scores = multiply(q, k, right=True) * link.decay
    if inverse is None:
        return Solved(scores, None)
    overlap = jnp.where(link.earlier, multiply(k, k, right=True) * link.decay, 0)
    return Solved(scores, inverse(chunk.beta[..., None] * overlap))


def gradients(
    chunk: Chunk,
    link: Links,
    solved: Solved,
    m: Array,
    values: Array,
    g: Array,
    dm: Array,
    dvalues: Array,
    multiply: Callable[..., Array],
) -> tuple[Array, Array, Array, Array, Array]:
    """Cotangents of q, k, v, total and beta.

    From those of the reads `g [..., C, K]`, of the memory after `dm [..., S, K]` and of the values
    `dvalues`; `m` is the memory before. What a token adds to itself has no decay in it, and is kept
    out of the cotangent of `total`, a difference of sums.
    """
    q, k, v, beta = chunk.q, chunk.k, chunk.v, chunk.beta[..., None]
    dq = multiply(link.from_start * g, m, right=True)
    inner = jnp.where(link.earlier, multiply(g, values, right=True) * link.decay, 0)
    dq += multiply(inner, k)
    written = multiply(inner, q, left=True)
    dtotal = _sum(dq * q)
    drhs = dvalues
    if solved.inverse is not None:
        drhs = multiply(solved.inverse, dvalues, left=True)
        outer = jnp.where(link.earlier, multiply(drhs, values, right=True) * link.decay, 0)
        read = multiply(link.from_start * drhs, m, right=True) + multiply(outer, k)
        written -= multiply(outer, beta * k, left=True)
    to_end = link.to_end * multiply(values, dm, right=True)
    own = jnp.sum(g * values, axis=-1, keepdims=True)
    dk = written + to_end + own * q
    dbeta = _sum(drhs * v)
    ends = _sum(to_end * k)
    dtotal -= _sum(written * k) + ends
    if solved.inverse is not None:
        dk -= beta * read
        reads = _sum(read * k)
        dtotal -= chunk.beta * reads
        dbeta -= reads
    last = jax.lax.broadcasted_iota(jnp.int32, ends.shape, ends.ndim - 1) == ends.shape[-1] - 1
    kept = link.whole * jnp.sum(_sum(m * dm), axis=-1, keepdims=True)
    dtotal += jnp.where(last, jnp.sum(ends, axis=-1, keepdims=True) + kept, 0)
    return dq + own * k, dk, beta * drhs, dtotal, dbeta


def _sum(x: Array) -> Array:
    return jnp.sum(x, axis=-1)


def delta_chunks(chunk: Chunk, m0: Array, error_correction: bool) -> tuple[Array, Array]:
    """Reads `[n, B, H, C, K]` and the last memory `[B, H, S, K]`, from chunks `[n, B, H, C, ...]`.

    `m0` and the results have the accumulation dtype; `document` is [n, B, 1, C].
    """
    return _chunks(*chunk, m0, error_correction)


@partial(jax.custom_vjp, nondiff_argnums=(7,))
def _chunks(
    q: Array,
    k: Array,
    v: Array,
    total: Array,
    beta: Array,
    document: Array,
    m0: Array,
    error_correction: bool,
) -> tuple[Array, Array]:
    inputs = (q, k, v, total, beta, document, m0)
    return _chunks_forward(*inputs, error_correction)[0]


def _chunks_forward(
    *inputs: Any,
) -> tuple[tuple[Array, Array], tuple[Chunk, Solved, Array | None, Array, Array]]:
    *arrays, m0, error_correction = inputs
    chunk, multiply = Chunk(*arrays), partial(dot, dtype=m0.dtype)
    link, beta = links(chunk), chunk.beta[..., None]
    solved = solve(chunk, link, inverse_unit_lower if error_correction else None, multiply)
    written, removed = beta * chunk.v, None
    if solved.inverse is not None:
        written = multiply(solved.inverse, written)
        removed = multiply(solved.inverse, beta * link.from_start * chunk.k)

    def step(m: Array, inputs: tuple[Any, ...]) -> tuple[Array, tuple[Array, Array]]:
        values, keys, whole, removed = inputs
        if removed is not None:
            values = values - multiply(removed, m)
        return whole[..., None] * m + multiply(keys, values, left=True), (m, values)

    each: tuple[Any, ...] = (written, link.to_end * chunk.k, link.whole, removed)
    m_last, (m, values) = jax.lax.scan(step, m0, each)
    r = multiply(link.from_start * chunk.q, m) + multiply(solved.scores, values)
    return (r, m_last), (chunk, solved, removed, m, values)


def _chunks_backward(
    error_correction: bool,
    kept: tuple[Chunk, Solved, Array | None, Array, Array],
    cotangents: tuple[Array, Array],
) -> tuple[Array | None, ...]:
    chunk, solved, removed, m, values = kept
    g, dm_last = cotangents
    link, multiply = links(chunk), partial(dot, dtype=m.dtype)

    def step(dm: Array, inputs: tuple[Any, ...]) -> tuple[Array, tuple[Array, Array]]:
        dvalues, before, keys, whole, removed = inputs
        dvalues = dvalues + multiply(keys, dm)
        before = before + whole[..., None] * dm
        if removed is not None:
            before = before - multiply(removed, dvalues, left=True)
        return before, (dm, dvalues)

    dvalues = multiply(solved.scores, g, left=True)
    before = multiply(chunk.q, link.from_start * g, left=True)
    each: tuple[Any, ...] = (dvalues, before, link.to_end * chunk.k, link.whole, removed)
    dm0, (dm, dvalues) = jax.lax.scan(step, dm_last, each, reverse=True)
    found = gradients(chunk, link, solved, m, values, g, dm, dvalues, multiply)
    narrow = [x.astype(y.dtype) for x, y in zip(found, chunk, strict=False)]
    return *narrow, None, dm0


_chunks.defvjp(_chunks_forward, _chunks_backward)

# Tokens that are solved one after the other, all blocks at once; larger ones are made of halves.
_BLOCK = 8


@jax.custom_vjp
def inverse_unit_lower(a: Array) -> Array:
    """`(I + a)^{-1}` for strictly lower-triangular `a [..., C, C]`, any C.

    Keys of a language model are correlated, and then the textbook product `(I - A)(I + A^2)...`
    cancels catastrophically in float32. Forward substitution does not: it solves blocks, whose
    inverses are assembled: inv [[P, 0], [A21, Q]] = [[inv P, 0], [-inv Q A21 inv P, inv Q]].
    The gradient is that of a matrix inverse, `-X^T g X^T`, instead of that of the construction.
    """
    size = a.shape[-1]
    block, blocks = min(size, _BLOCK), 1
    while block * blocks < size:
        blocks *= 2
    tail = block * blocks - size
    a = jnp.pad(a, [(0, 0)] * (a.ndim - 2) + [(0, tail)] * 2)
    inverse = _substituted(_blocks(a, block, [(i, i) for i in range(blocks)]))
    while blocks > 1:
        upper, lower = inverse[..., ::2, :, :], inverse[..., 1::2, :, :]
        below = _blocks(a, block, [(i + 1, i) for i in range(0, blocks, 2)])
        top = jnp.concatenate([upper, jnp.zeros_like(upper)], axis=-1)
        bottom = jnp.concatenate([-lower @ (below @ upper), lower], axis=-1)
        inverse = jnp.concatenate([top, bottom], axis=-2)
        block, blocks = 2 * block, blocks // 2
    return inverse[..., 0, :size, :size]


def _blocks(a: Array, size: int, where: list[tuple[int, int]]) -> Array:
    """The blocks at (row, column), counted in blocks, of `a [..., C, C]`: [..., n, size, size]."""
    corners = [(size * row, size * column) for row, column in where]
    return jnp.stack([a[..., i : i + size, j : j + size] for i, j in corners], axis=-3)


def _substituted(a: Array) -> Array:
    """The inverse by forward substitution, vectorised over the leading axes."""
    size, others = a.shape[-1], a.ndim - 2
    a = jnp.moveaxis(a, (-2, -1), (0, 1))
    identity = jnp.eye(size, dtype=a.dtype)
    rows: list[Array] = []
    for i in range(size):
        row = jnp.broadcast_to(jnp.expand_dims(identity[i], range(1, others + 1)), a.shape[1:])
        for j in range(i):
            row = row - a[i, j][None] * rows[j]
        rows.append(row)
    return jnp.moveaxis(jnp.stack(rows), (0, 1), (-2, -1))


def _inverse_forward(a: Array) -> tuple[Array, Array]:
    inverse = inverse_unit_lower(a)
    return inverse, inverse


def _inverse_backward(inverse: Array, g: Array) -> tuple[Array]:
    transposed = inverse.swapaxes(-1, -2)
    return (jnp.tril(-transposed @ g @ transposed, -1),)


inverse_unit_lower.defvjp(_inverse_forward, _inverse_backward)
