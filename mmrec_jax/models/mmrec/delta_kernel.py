"""The gated delta rule as one kernel each way: the memories of a head never leave the chip.

A program takes some heads of a row through all chunks, forward, or backward from the memories at
the chunks' borders that the forward pass has left; everything else of a chunk is computed again.
Products read operands of the inputs' dtype (bfloat16 or float32) and accumulate in float32; M, the
decays and the inverse are float32.

* GPU (Triton): a grid of rows, heads and blocks of at most `_VALUES` columns of M, which do not
  know of each other; what they say about q, k, alpha and beta is summed after. M, its cotangent and
  the border, each [S, 64] in float32, and a chunk's tiles lie in registers: with S = 128 and C = 32
  that is 3 x 32 and about 10 x 8 registers of a thread in 8 warps, of the 255 that it may have. The
  operands of products pass through shared memory: XLA asks for 128 KiB with tiles [C, S] of 16 KiB,
  so that those of `_TILE` stay within the 99 KiB of the smallest cards. C is 32 at most: with 64
  compilation takes minutes.
* TPU (Mosaic): a grid of rows, groups of heads and chunks. M of a group waits in VMEM for the next
  chunk; a group has up to `_HEADS` heads, as many as fit `_VMEM`: with S = K = 128, four heads at
  C = 64, each 0.7 MiB of memories, 0.2 MiB of blocks, twice, and 0.5 MiB of temporaries.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.experimental.pallas import triton as plgpu

from mmrec_jax.models.mmrec.delta_chunk import (
    Chunk,
    Solved,
    delta_chunks,
    dot,
    gradients,
    links,
    solve,
)
from mmrec_jax.models.mmrec.kernels import KernelTarget, on_each_device
from mmrec_jax.typing import Array

_VALUES, _HEADS = 64, 8
_TILE = 8 * 2**10  # bytes of [C, S] on a GPU, at most
_VMEM = 8 * 2**20  # bytes of one program on a TPU, by our own estimate; a chip gives it 16 MiB


def takes(target: KernelTarget, q: Array, k: Array, v: Array, chunk: int) -> bool:
    """Whether kernels for `target` take such arrays [..., S] and [..., K] by chunks of C tokens.

    They must be of one dtype, bfloat16 or float32, and C, S and K powers of two within bounds.
    """
    sizes = chunk, q.shape[-1], v.shape[-1]
    if not q.dtype == k.dtype == v.dtype or q.dtype not in (jnp.float32, jnp.bfloat16):
        return False
    if any(size < 16 or size & (size - 1) for size in sizes):
        return False
    if target.platform == "tpu":
        return _heads(1, *sizes, q.dtype) > 0
    tile = chunk * sizes[1] * q.dtype.itemsize
    return tile <= _TILE and chunk <= 32 and max(sizes[1:]) <= 128


def _heads(heads: int, chunk: int, slots: int, values: int, dtype: jnp.dtype) -> int:
    """The heads of one program on a TPU, of `heads`: the most whose backward pass fits; or 0."""
    width, memory = max(slots, values, 128), 4 * slots * max(values, 128)
    tile, square = 4 * chunk * width, 4 * chunk * max(chunk, 128)
    blocks = 2 * 7 * chunk * width * dtype.itemsize
    one = blocks + 7 * memory + 16 * tile + 8 * square + 4 * memory
    fit = (n for n in range(_HEADS, 0, -1) if heads % n == 0 and n * one <= _VMEM)
    return next(fit, 0)


def delta_kernel(
    target: KernelTarget, chunk: Chunk, m0: Array, error_correction: bool
) -> tuple[Array, Array]:
    """`delta_chunks` (arguments and results as there) by kernels; reads in the dtype of v."""
    r, m_last, _ = _solve(*chunk, m0, error_correction, target)
    return r, m_last


@partial(jax.custom_vjp, nondiff_argnums=(7, 8))
def _solve(
    q: Array,
    k: Array,
    v: Array,
    total: Array,
    beta: Array,
    document: Array,
    m0: Array,
    error_correction: bool,
    target: KernelTarget,
) -> tuple[Array, Array, Array]:
    """Reads, the last memory, and the memory before each chunk."""
    chunk = Chunk(q, k, v, total, beta, document)

    def run(*arrays: Array) -> list[Array]:
        *tiles, m0 = arrays
        return _walk(target, error_correction, False, tiles, m0)

    with jax.named_scope("delta_scan"):
        r, m, m_last = on_each_device(run, (*_by_row(chunk), m0))
    return jnp.moveaxis(r, 2, 0), m_last, m


def _solve_forward(
    *inputs: Any,
) -> tuple[tuple[Array, Array, Array], tuple[Array, ...]]:
    r, m_last, m = _solve(*inputs)
    return (r, m_last, m), (*jax.lax.optimization_barrier(inputs[:7]), m)


def _solve_backward(
    error_correction: bool,
    target: KernelTarget,
    kept: tuple[Array, ...],
    cotangents: tuple[Array, Array, Array],
) -> tuple[Array | None, ...]:
    g, dm_last, _ = cotangents  # nothing differentiable is made of the borders
    *inputs, m = kept
    dq, dk, dv, dtotal, dbeta, dm0 = _pull(*inputs, m, g, dm_last, error_correction, target)
    return dq, dk, dv, dtotal, dbeta, None, dm0


_solve.defvjp(_solve_forward, _solve_backward)


@partial(jax.custom_vjp, nondiff_argnums=(10, 11))
def _pull(
    q: Array,
    k: Array,
    v: Array,
    total: Array,
    beta: Array,
    document: Array,
    m0: Array,
    m: Array,
    g: Array,
    dm_last: Array,
    error_correction: bool,
    target: KernelTarget,
) -> tuple[Array, ...]:
    """Cotangents of q, k, v, total, beta and m0."""
    chunk = Chunk(q, k, v, total, beta, document)

    def run(*arrays: Array) -> list[Array]:
        *tiles, dm = arrays
        return _walk(target, error_correction, True, tiles, dm)

    with jax.named_scope("delta_gradient"):
        *found, dm0 = on_each_device(run, (*_by_row(chunk), m, jnp.moveaxis(g, 0, 2), dm_last))
    each = (jnp.moveaxis(x, 2, 0) for x in found)
    return *(x.reshape(y.shape) for x, y in zip(each, chunk, strict=False)), dm0


# A second derivative is that of plain JAX, from the inputs alone.
def _pull_forward(*inputs: Any) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    return _pull(*inputs), jax.lax.optimization_barrier(inputs[:10])


def _pull_backward(
    error_correction: bool, target: KernelTarget, kept: tuple[Array, ...], cotangents: Any
) -> tuple[Array | None, ...]:
    *differentiable, document, m0, _, g, dm_last = kept

    def plain(arrays: list[Array], m0: Array, g: Array, dm_last: Array) -> tuple[Array, ...]:
        def solved(arrays: list[Array], m0: Array) -> tuple[Array, Array]:
            q, k, v, total, beta = arrays
            chunk = Chunk(q, k, v, total, beta, document)
            r, m_last = delta_chunks(chunk, m0, error_correction)
            return r.astype(g.dtype), m_last

        found, dm0 = jax.vjp(solved, arrays, m0)[1]((g, dm_last))
        return *found, dm0

    found, dm0, dg, dlast = jax.vjp(plain, differentiable, m0, g, dm_last)[1](cotangents)
    return *found, None, dm0, None, dg, dlast


_pull.defvjp(_pull_forward, _pull_backward)


def _by_row(chunk: Chunk) -> list[Array]:
    """[n, B, H, C, ...] -> [B, H, n, C, ...]; one more axis before the last of [n, B, H, C]."""
    return [jnp.moveaxis(x if x.ndim == 5 else x[..., None, :], 0, 2) for x in chunk]


# What a program does with a chunk; leading axes are heads.


def _multiply(dtype: jnp.dtype) -> Any:
    exact = dtype == jnp.float32
    return partial(dot, dtype=dtype, precision=jax.lax.Precision.HIGHEST if exact else None)


def _inverse(a: Array) -> Array:
    """`(I + a)^{-1}` for strictly lower-triangular a: blocks twice as large from step to step.

    `inv(D + L) = inv D - inv D L inv D` for the blocks D and what is below them in pairs, L; masks
    stand for slices, which a kernel has not.
    """
    multiply = _multiply(a.dtype)
    row, column = (jax.lax.broadcasted_iota(jnp.int32, a.shape, a.ndim - n) for n in (2, 1))
    inverse, size = jnp.where(row == column, 1.0, 0.0), 1
    while size < a.shape[-1]:
        pair = (row // (2 * size) == column // (2 * size)) & (row // size != column // size)
        below = jnp.where(pair, a, 0)
        if size > 1:
            below = multiply(inverse, multiply(below, inverse))
        inverse, size = inverse - below, 2 * size
    return inverse


def _values(chunk: Chunk, m: Array, error_correction: bool) -> tuple[Any, Solved, Array]:
    multiply = _multiply(chunk.q.dtype)
    link = links(chunk)
    solved = solve(chunk, link, _inverse if error_correction else None, multiply)
    values = chunk.v.astype(jnp.float32)
    if solved.inverse is not None:
        values = values - link.from_start * multiply(chunk.k, m)
    values = chunk.beta[..., None] * values
    if solved.inverse is not None:
        values = multiply(solved.inverse, values)
    return link, solved, values


def _forward(
    error_correction: bool, tiles: Sequence[Array], m: Array
) -> tuple[tuple[Array, ...], Array]:
    """(q, k, v, total, beta, document), M -> (reads, M), the memory after."""
    chunk = Chunk(*tiles)
    multiply = _multiply(chunk.q.dtype)
    link, solved, values = _values(chunk, m, error_correction)
    r = multiply(link.from_start * chunk.q, m) + multiply(solved.scores, values)
    after = link.whole[..., None] * m + multiply(link.to_end * chunk.k, values, left=True)
    return (r, m), after


def _backward(
    error_correction: bool, tiles: Sequence[Array], dm: Array
) -> tuple[tuple[Array, ...], Array]:
    """(q, ..., document, M, g), cotangent after -> those of (q, k, v, total, beta), that of M."""
    *inputs, m, g = tiles
    chunk = Chunk(*inputs)
    multiply = _multiply(chunk.q.dtype)
    link, solved, values = _values(chunk, m, error_correction)
    dvalues = multiply(solved.scores, g, left=True) + multiply(link.to_end * chunk.k, dm)
    found = gradients(chunk, link, solved, m, values, g, dm, dvalues, multiply)
    before = link.whole[..., None] * dm + multiply(chunk.q, link.from_start * g, left=True)
    if error_correction:
        before -= multiply(chunk.k, link.from_start * found[2], left=True)
    return found, before


def _walk(
    target: KernelTarget,
    error_correction: bool,
    backward: bool,
    tiles: Sequence[Array],
    state: Array,
) -> list[Array]:
    """`_forward` from the first chunk to the last, or `_backward` from the last to the first.

    Tiles are [B, H, n, ...], vectors of a chunk [B, H, n, 1, C]; `state` is [B, H, S, K].

    Returns:
      What each chunk gives, like the tiles, and the last state.
    """
    q, k, v, total, beta = tiles[:5]
    borders = jax.ShapeDtypeStruct((*q.shape[:3], *state.shape[2:]), jnp.float32)
    # Whether an array is split with the columns of M, or belongs to all of them.
    by_column = [False, False, True, False, False, False]
    like: list[Any] = [v, borders]
    out_by_column = [True, True]
    if backward:
        by_column += [True, True]
        like, out_by_column = [q, k, v, total, beta], by_column[:5]
    step = partial(_backward if backward else _forward, error_correction)
    outs = [
        (jax.ShapeDtypeStruct(x.shape, x.dtype), y)
        for x, y in zip(like, out_by_column, strict=True)
    ]
    run = _on_tpu if target.platform == "tpu" else _on_gpu
    return run(
        target.interpret, step, backward, list(zip(tiles, by_column, strict=True)), state, outs
    )


def _on_gpu(
    interpret: bool,
    step: Any,
    reverse: bool,
    tiles: list[tuple[Array, bool]],
    state: Array,
    outs: list[tuple[Any, bool]],
) -> list[Array]:
    (batch, heads, slots, values), n = state.shape, tiles[0][0].shape[2]
    width = min(values, _VALUES)
    parts = values // width

    def kernel(*refs: Any) -> None:
        inputs, (first, *results, last) = refs[: len(tiles)], refs[len(tiles) :]

        def where(ref: Any, i: Array) -> Any:
            at = n - 1 - i if reverse else i
            return (at, 0) if ref.shape[1] == 1 else at

        def body(i: Array, state: Array) -> Array:
            found, state = step([ref[where(ref, i)] for ref in inputs], state)
            for ref, x in zip(results, found, strict=True):
                ref[where(ref, i)] = x.astype(ref.dtype)
            return state

        last[...] = jax.lax.fori_loop(0, n, body, first[...])

    def spec(shape: Sequence[int], by_column: bool) -> pl.BlockSpec:
        *middle, end = shape[2:]
        block = (None, None, *middle, width if by_column else end)
        return pl.BlockSpec(
            block,
            lambda b, h, j: (
                (b, h if shape[1] > 1 else 0, *(0 for _ in middle), j if by_column else 0)
            ),
        )

    def part(shape: Sequence[int]) -> pl.BlockSpec:
        return pl.BlockSpec(
            (None, None, None, *shape[2:]), lambda b, h, j: (b, j, h, *(0 for _ in shape[2:]))
        )

    memory = spec(state.shape, True)
    out_shapes = [
        x if by_column else jax.ShapeDtypeStruct((batch, parts, *x.shape[1:]), jnp.float32)
        for x, by_column in outs
    ]
    *found, last = pl.pallas_call(
        kernel,
        grid=(batch, heads, parts),
        in_specs=[*(spec(x.shape, by_column) for x, by_column in tiles), memory],
        out_specs=[
            *(spec(x.shape, True) if by_column else part(x.shape) for x, by_column in outs),
            memory,
        ],
        out_shape=[*out_shapes, jax.ShapeDtypeStruct(state.shape, state.dtype)],
        compiler_params=plgpu.CompilerParams(
            num_warps=8 if slots * width >= 64 * 64 else 4, num_stages=1
        ),
        interpret=interpret,
    )(*(x for x, _ in tiles), state)
    return [
        *(
            x if by_column else jnp.sum(x, axis=1).astype(out.dtype)
            for x, (out, by_column) in zip(found, outs, strict=True)
        ),
        last,
    ]


def _on_tpu(
    interpret: bool,
    step: Any,
    reverse: bool,
    tiles: list[tuple[Array, bool]],
    state: Array,
    outs: list[tuple[Any, bool]],
) -> list[Array]:
    (batch, heads, slots, values), n = state.shape, tiles[0][0].shape[2]
    group = _heads(heads, tiles[0][0].shape[3], slots, values, tiles[0][0].dtype)

    def kernel(*refs: Any) -> None:
        inputs, (first, *results, last, held) = refs[: len(tiles)], refs[len(tiles) :]

        @pl.when(pl.program_id(2) == 0)
        def _() -> None:
            held[...] = first[...]

        read = [ref[:, 0] if ref.shape[1] == 1 else ref[...] for ref in inputs]
        found, state = step(read, held[...])
        for ref, x in zip(results, found, strict=True):
            if ref.shape[1] == 1:
                ref[:, 0] = x.astype(ref.dtype)
            else:
                ref[...] = x.astype(ref.dtype)
        held[...] = state
        last[...] = state

    def spec(shape: Sequence[int]) -> pl.BlockSpec:
        several = shape[1] > 1
        block = (None, group if several else 1, None, *shape[3:])
        return pl.BlockSpec(
            block, lambda b, h, i: (b, h if several else 0, n - 1 - i if reverse else i, 0, 0)
        )

    memory = pl.BlockSpec((None, group, slots, values), lambda b, h, i: (b, h, 0, 0))
    return pl.pallas_call(
        kernel,
        grid=(batch, heads // group, n),
        in_specs=[*(spec(x.shape) for x, _ in tiles), memory],
        out_specs=[*(spec(x.shape) for x, _ in outs), memory],
        out_shape=[*(x for x, _ in outs), jax.ShapeDtypeStruct(state.shape, state.dtype)],
        scratch_shapes=[pltpu.VMEM((group, slots, values), jnp.float32)],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary")
        ),
        interpret=interpret,
    )(*(x for x, _ in tiles), state)
