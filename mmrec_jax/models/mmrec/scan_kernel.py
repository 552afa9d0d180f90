"""`jax.lax.scan` over time as one kernel, for steps that are elementwise in rows and channels.

A program of the grid takes some channels through all of time: the carry never leaves the chip, and
each sequence is read or written once. Rows and channels are what is spread over a device.

* GPU (Triton): one warp a program, one of 32 channels a thread. What the steps of a group read is
  loaded while the group before is computed, so that a thread holds at most twice `_AHEAD` loaded
  numbers, the carry, the constants and the temporaries of a step: under 128 registers for the
  steps here, and no shared memory.
* TPU (Mosaic): a block is at most `_TOKENS` tokens of `_ROWS` rows and `_WIDTH` channels: 512 KiB
  of VMEM for a sequence, twice, so 6 MiB for six sequences. Time comes first in the arrays, so that
  the rows of a token fill the sublanes; the carry waits in VMEM for the next block.

The step's formula is the caller's: kernels and plain path share it.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.experimental.pallas import triton as plgpu

from mmrec_jax.models.mmrec.kernels import KernelTarget, on_each_device
from mmrec_jax.models.partition import row_parts
from mmrec_jax.typing import Array

Arrays = tuple[Array, ...]
# (carry, values at a step, values at the step after it, constants) -> (carry, outputs)
Step = Callable[[Arrays, Arrays, Arrays, Arrays], tuple[Arrays, Arrays]]

_LANES = {"gpu": 32, "tpu": 128}
_AHEAD = 32
_TOKENS, _ROWS, _WIDTH = 32, 8, 512


def takes(target: KernelTarget, shape: tuple[int, ...]) -> bool:
    """Whether kernels for `target` take arrays [B, T, E]; a GPU counts their numbers in 32 bits."""
    fitting = shape[-1] % _LANES[target.platform] == 0
    return fitting and (target.platform == "tpu" or math.prod(shape) // row_parts() < 2**31)


def scan_over_time(
    target: KernelTarget,
    name: str,
    step: Step,
    carry: Arrays,
    sequences: Arrays,
    following: tuple[tuple[Array, Array], ...] = (),
    constants: Arrays = (),
    *,
    outputs: int,
    reverse: bool = False,
) -> tuple[Arrays, Arrays]:
    """Takes `step` from token to token; all arrays are float32. It is never differentiated.

    Args:
      target: the devices; they must take such arrays.
      name: of the kernel, in programs and profiles.
      step: elementwise, all of its arguments have one shape.
      carry: before the first step, each [B, E].
      sequences: each [B, T, E].
      following: sequences of which a step sees the value that the step after it would see, each
        with what the last step sees instead, [B, E].
      constants: each [E].
      outputs: how many outputs a step has.
      reverse: from the last token to the first.

    Returns:
      The carry after the last step, and the outputs, each [B, T, E].
    """
    edges = tuple(edge for _, edge in following)
    ahead = tuple(sequence for sequence, _ in following)
    counts = len(carry), len(following), len(sequences), len(constants), outputs
    scan = _Scan(step, *counts, reverse)
    run = partial(_on_tpu if target.platform == "tpu" else _on_gpu, scan, target.interpret)
    with jax.named_scope(name):
        results = on_each_device(run, (*carry, *edges, *sequences, *ahead), constants)
    return tuple(results[: len(carry)]), tuple(results[len(carry) :])


@dataclasses.dataclass(frozen=True)
class _Scan:
    """A step, how many arrays of each kind it has, and where it begins."""

    step: Step
    carry: int
    following: int
    sequences: int
    constants: int
    outputs: int
    reverse: bool

    def split(self, arrays: Sequence[Any]) -> tuple[Arrays, ...]:
        """Carry, edges, sequences, following, constants; last carry, outputs; what is left."""
        counts = self.carry, self.following, self.sequences, self.following, self.constants
        bounds = [0, *itertools.accumulate((*counts, self.carry, self.outputs)), None]
        return tuple(tuple(arrays[i:j]) for i, j in itertools.pairwise(bounds))

    def specs(self, state: Any, sequence: Any, constant: Any) -> list[Any]:
        """Of the arguments."""
        states, sequences = self.carry + self.following, self.sequences + self.following
        return [*[state] * states, *[sequence] * sequences, *[constant] * self.constants]

    def result_specs(self, state: Any, sequence: Any) -> list[Any]:
        """Of the results."""
        return [*[state] * self.carry, *[sequence] * self.outputs]

    def result_shapes(self, state: tuple[int, ...], sequence: tuple[int, ...]) -> list[Any]:
        """Of the results."""
        of = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
        return self.result_specs(of(state), of(sequence))

    def load(self, at: Any, ahead: Any, edges: Arrays, i: Any, count: Any) -> tuple[Arrays, Arrays]:
        """What step i of `count` sees."""
        last = i == count - 1
        t, t_after = self.token(i, count), self.token(jnp.where(last, i, i + 1), count)
        after = (
            jnp.where(last, edge, ref[t_after]) for edge, ref in zip(edges, ahead, strict=True)
        )
        return tuple(ref[t] for ref in at), tuple(after)

    def token(self, i: Any, count: Any) -> Any:
        """The token of step i."""
        return count - 1 - i if self.reverse else i

    def store(self, outs: Any, i: Any, count: Any, results: Arrays) -> None:
        """Writes what step i has put out."""
        for ref, result in zip(outs, results, strict=True):
            ref[self.token(i, count)] = result


def _on_gpu(scan: _Scan, interpret: bool, *arrays: Array) -> Sequence[Array]:
    start, edges, sequences, ahead, constants, *_ = scan.split(arrays)
    batch, length, channels = sequences[0].shape
    group = max(_AHEAD // (scan.sequences + scan.following), 1)
    whole, rest = divmod(length, group)
    width = _LANES["gpu"]

    def kernel(*refs: Any) -> None:
        start, edges, at, ahead, constants, end, outs, _ = scan.split(refs)
        fixed, edge = tuple(ref[...] for ref in constants), tuple(ref[...] for ref in edges)

        def load(first: Array) -> list[tuple[Arrays, Arrays]]:
            steps = [jnp.minimum(first + n, length - 1) for n in range(group)]
            return [scan.load(at, ahead, edge, i, length) for i in steps]

        def take(first: Array, count: int, carry: Arrays, values: Any) -> Arrays:
            for n in range(count):
                carry, results = scan.step(carry, values[n][0], values[n][1], fixed)
                scan.store(outs, first + n, length, results)
            return carry

        def body(number: Array, held: Any) -> Any:
            first = number * group
            upcoming = load(first + group)
            return take(first, group, *held), upcoming

        held = tuple(ref[...] for ref in start), load(jnp.int32(0))
        held = jax.lax.fori_loop(0, whole, body, held)
        for ref, value in zip(end, take(jnp.int32(whole * group), rest, *held), strict=True):
            ref[...] = value

    state = pl.BlockSpec((None, width), lambda i, j: (i, j))
    sequence = pl.BlockSpec((None, length, width), lambda i, j: (i, 0, j))
    constant = pl.BlockSpec((None, width), lambda i, j: (0, j))
    return pl.pallas_call(
        kernel,
        grid=(batch, channels // width),
        in_specs=scan.specs(state, sequence, constant),
        out_specs=scan.result_specs(state, sequence),
        out_shape=scan.result_shapes(start[0].shape, sequences[0].shape),
        compiler_params=plgpu.CompilerParams(num_warps=1, num_stages=1),
        interpret=interpret,
    )(*start, *edges, *sequences, *ahead, *(x[None] for x in constants))


def _on_tpu(scan: _Scan, interpret: bool, *arrays: Array) -> Sequence[Array]:
    start, edges, sequences, ahead, constants, *_ = scan.split(arrays)
    batch, length, channels = sequences[0].shape
    rows, tokens = min(_ROWS, batch), min(_TOKENS, length)  # of more, the last block has fewer
    width = next(n for n in (_WIDTH, _WIDTH // 2, _LANES["tpu"]) if channels % n == 0)
    blocks = pl.cdiv(length, tokens)

    def block(k: Any) -> Any:
        return scan.token(k, blocks)

    def beyond(k: Any) -> Any:
        """The token that follows a block; any where none does."""
        t = block(k) * tokens - 1 if scan.reverse else (block(k) + 1) * tokens
        return jnp.clip(t, 0, length - 1)

    def kernel(*refs: Any) -> None:
        borders = refs[: scan.following]
        start, edges, at, ahead, constants, end, outs, held = scan.split(refs[scan.following :])
        k = pl.program_id(2)
        count = jnp.minimum(tokens, length - block(k) * tokens)  # fewer in the last block of time
        fixed = tuple(jnp.broadcast_to(ref[...], (rows, width)) for ref in constants)
        edge = tuple(
            jnp.where(k == blocks - 1, ref[...], border[...])
            for ref, border in zip(edges, borders, strict=True)
        )

        @pl.when(k == 0)
        def _() -> None:
            for ref, value in zip(held, start, strict=True):
                ref[...] = value[...]

        def body(i: Array, carry: Arrays) -> Arrays:
            values = scan.load(at, ahead, edge, i, count)
            carry, results = scan.step(carry, *values, fixed)
            scan.store(outs, i, count, results)
            return carry

        carry = jax.lax.fori_loop(0, count, body, tuple(ref[...] for ref in held))
        for ref, last, value in zip(held, end, carry, strict=True):
            ref[...] = value
            last[...] = value

    state = pl.BlockSpec((rows, width), lambda i, j, k: (i, j))
    sequence = pl.BlockSpec((tokens, rows, width), lambda i, j, k: (block(k), i, j))
    border = pl.BlockSpec((None, rows, width), lambda i, j, k: (beyond(k), i, j))
    constant = pl.BlockSpec((1, width), lambda i, j, k: (0, j))
    # Time first: a token's rows are then rows of the chip's tiles.
    sequences, ahead = (tuple(x.swapaxes(0, 1) for x in part) for part in (sequences, ahead))
    results = pl.pallas_call(
        kernel,
        grid=(pl.cdiv(batch, rows), channels // width, blocks),
        in_specs=[*[border] * scan.following, *scan.specs(state, sequence, constant)],
        out_specs=scan.result_specs(state, sequence),
        out_shape=scan.result_shapes(start[0].shape, sequences[0].shape),
        scratch_shapes=[pltpu.VMEM((rows, width), jnp.float32)] * scan.carry,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "parallel", "arbitrary")
        ),
        interpret=interpret,
    )(*ahead, *start, *edges, *sequences, *ahead, *(x[None] for x in constants))
    return [*results[: scan.carry], *(x.swapaxes(0, 1) for x in results[scan.carry :])]
