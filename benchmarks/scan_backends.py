"""How fast each backend of `linear_scan` is here: forward, with gradients, to compile, in memory.

    python -m benchmarks.scan_backends --lengths 256 1024 --write-table

The table that is written is the one that `backend="auto"` goes by (`models/mmrec/scan_table.py`).
"""

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.markdown import header, row
from benchmarks.scan_table import merge, read_table, write_table
from mmrec_jax.errors import UserError, exit_on_user_error
from mmrec_jax.models.mmrec.scan import linear_scan, resolve_backend
from mmrec_jax.models.mmrec.scan_backends import BACKENDS
from mmrec_jax.models.mmrec.scan_table import COMMITTED, Measurement
from mmrec_jax.typing import Array

# One timed run lasts at least about this long: short programs are called several times in it.
_RUN_MS = 20


class Times(NamedTuple):
    """Milliseconds a call over several runs."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.least:.3f} to {self.most:.3f})"


@dataclasses.dataclass(frozen=True)
class Result:
    """One backend at one shape."""

    backend: str
    forward: Times
    gradient: Times  # forward and backward
    compile_s: float  # to trace and compile forward and backward
    temporary_mib: float  # memory beside inputs and outputs, forward and backward


def main() -> int:
    """Measures, prints the table and keeps it where asked; returns the exit status."""
    options = _options()
    with exit_on_user_error():
        _check(options)
        print_times(options)
        return 0


def print_times(options: argparse.Namespace) -> None:
    """Measures every backend at every length, prints the results and keeps them in a table.

    Raises:
      UserError: a shape fits in memory with no backend, or the table cannot be written.
    """
    batch, width, runs, path = options.batch, options.width, options.runs, options.write_table
    device = jax.devices()[0].device_kind.lower()
    rows = read_table(path) if path is not None and path.exists() else []
    print(
        f"{device}: B = {batch}, E = {width} (B*E = {batch * width:,}), {options.dtype}; "
        f"median (least to most) of {runs} runs\n"
    )
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        print("JAX's compilation cache is on: a program found there is read, not compiled\n")
    names = ("T", "backend", "forward, ms", "forward + backward, ms", "compile, s", "temp, MiB")
    print("\n".join(header(names)))
    choices = []
    for length in options.lengths:
        results = measure(batch, width, length, jnp.dtype(options.dtype), runs)
        if not results:
            raise UserError(f"--lengths {length}: B*E*T = {batch * width * length:,} does not fit")
        for x in results:
            costs = f"{x.compile_s:.2f}", f"{x.temporary_mib:.2f}"
            print(row((f"{length:,}", x.backend, str(x.forward), str(x.gradient), *costs)))
        for name in sorted(set(BACKENDS) - {x.backend for x in results}):
            print(row((f"{length:,}", name, "does not fit in memory", "", "", "")))
        # What else the machine does only ever adds time, so the least of the runs is what counts.
        winner = min(results, key=lambda x: x.gradient.least).backend
        chosen = resolve_backend("auto", batch * width, length)
        choices.append(f"T = {length:,}: fastest with gradients: {winner}; auto takes {chosen}")
        if path is not None:
            rows = merge(rows, [_row(device, batch * width, length, x) for x in results])
            write_table(path, rows)
    print("\n".join(["", *choices]))
    if path is not None:
        print(f"{path}: {len(options.lengths)} shapes written, {len(rows)} rows in all")


def measure(batch: int, width: int, length: int, dtype: jnp.dtype, runs: int) -> list[Result]:
    """Times every backend on random inputs, on the default device.

    Args:
      batch: B.
      width: E.
      length: T.
      dtype: of b and the cotangent of h; the rest is float32.
      runs: timed runs of each program. The programs take turns, so that what else the machine
        does falls on all of them.

    Returns:
      One result a backend; those that run out of memory are left out.
    """
    programs: dict[str, tuple[_Program, _Program]] = {}
    try:
        inputs = jax.block_until_ready(_random_inputs(batch, width, length, dtype))
        for backend in BACKENDS:
            try:
                forward = _prepare(_forward(backend), inputs)
                programs[backend] = forward, _prepare(_gradient(backend), inputs)
            except jax.errors.JaxRuntimeError as error:
                _require_out_of_memory(error)
    except jax.errors.JaxRuntimeError as error:
        _require_out_of_memory(error)
    seen: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in programs}
    for _ in range(runs):
        for name, pair in programs.items():
            for program, times in zip(pair, seen[name], strict=True):
                times.append(_milliseconds(program.run, inputs, program.calls))
    return [
        Result(
            backend=name,
            forward=_times(seen[name][0]),
            gradient=_times(seen[name][1]),
            compile_s=gradient.compile_s,
            temporary_mib=gradient.temporary_mib,
        )
        for name, (_, gradient) in programs.items()
    ]


class _Program(NamedTuple):
    run: Callable[..., Any]
    calls: int  # in one timed run
    compile_s: float
    temporary_mib: float


def _prepare(function: Callable[..., Any], inputs: tuple[Array, ...]) -> _Program:
    """Compiles and warms up."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*inputs).compile()
    compile_s = time.perf_counter() - start
    _milliseconds(program, inputs, 1)  # a first call is no typical one
    calls = max(1, round(_RUN_MS / _milliseconds(program, inputs, 1)))
    memory = program.memory_analysis()  # None where XLA does not say
    temporary_mib = math.nan if memory is None else memory.temp_size_in_bytes / 2**20
    return _Program(program, calls, compile_s, temporary_mib)


def _require_out_of_memory(error: jax.errors.JaxRuntimeError) -> None:
    if "RESOURCE_EXHAUSTED" not in str(error):
        raise error


def _random_inputs(batch: int, width: int, length: int, dtype: jnp.dtype) -> tuple[Array, ...]:
    """Decays, inputs, first state, and the cotangents of the states and of the last one."""
    keys = jax.random.split(jax.random.key(0), 5)
    shape = (batch, length, width)
    return (
        jax.random.uniform(keys[0], shape, jnp.float32, 0.5, 1.0),
        jax.random.normal(keys[1], shape, dtype),
        jax.random.normal(keys[2], (batch, width), jnp.float32),
        jax.random.normal(keys[3], shape, dtype),
        jax.random.normal(keys[4], (batch, width), jnp.float32),
    )


def _forward(backend: str) -> Callable[..., Any]:
    def run(a: Array, b: Array, h0: Array, g: Array, g_last: Array) -> Any:
        del g, g_last
        return linear_scan(a, b, h0, backend=backend)

    return run


def _gradient(backend: str) -> Callable[..., Any]:
    def run(a: Array, b: Array, h0: Array, g: Array, g_last: Array) -> Any:
        outputs, pull = jax.vjp(lambda *x: linear_scan(*x, backend=backend), a, b, h0)
        return outputs, pull((g, g_last))

    return run


def _milliseconds(program: Callable[..., Any], inputs: tuple[Array, ...], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(program(*inputs))
    return (time.perf_counter() - start) / calls * 1e3


def _times(runs: list[float]) -> Times:
    return Times(statistics.median(runs), min(runs), max(runs))


def _row(device: str, channels: int, length: int, result: Result) -> Measurement:
    return Measurement(
        device=device,
        channels=channels,
        length=length,
        backend=result.backend,
        forward_ms=round(result.forward.least, 4),
        gradient_ms=round(result.gradient.least, 4),
        compile_s=round(result.compile_s, 2),
        temporary_mib=round(result.temporary_mib, 2),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--batch", type=int, default=4, help="B")
    add("--width", type=int, default=128, help="E")
    lengths = [256, 1024, 4096, 16384]
    add("--lengths", type=int, nargs="+", default=lengths, metavar="T")
    add("--dtype", choices=("float32", "bfloat16"), default="float32", help="decays: float32")
    add("--runs", type=int, default=5, help="timed runs of each program; the backends take turns")
    add(
        "--write-table",
        type=Path,
        nargs="?",
        const=COMMITTED,
        metavar="FILE",
        help="add the times there, float32 alone; without FILE: to the table of the package",
    )
    return parser.parse_args()


def _check(options: argparse.Namespace) -> None:
    """Raises UserError: an option that cannot be right, or a table that cannot be kept."""
    sizes = {"batch": [options.batch], "width": [options.width], "runs": [options.runs]}
    for name, values in {**sizes, "lengths": options.lengths}.items():
        if min(values) < 1:
            raise UserError(f"--{name} has {min(values)}; it must be at least 1")
    path = options.write_table
    if path is None:
        return
    if options.dtype != "float32":
        raise UserError(f"--dtype is {options.dtype}; --write-table keeps float32 times alone")
    write_table(path, read_table(path) if path.exists() else [])


if __name__ == "__main__":
    raise SystemExit(main())
