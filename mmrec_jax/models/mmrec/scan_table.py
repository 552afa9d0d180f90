"""Measured speeds of the scan backends, and the backend they make "auto" mean.

The measurements are `scan_table.csv` beside this file, committed and written by
`python -m benchmarks.scan_backends --write-table`. Nothing is ever timed while a model runs.
"""

import csv
import functools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

# For device kinds without rows. Stepping through time leaves an accelerator idle.
UNMEASURED = "associative"
COMMITTED = Path(__file__).with_suffix(".csv")


class Measurement(NamedTuple):
    """One row of the table: one backend at one shape on one kind of device."""

    device: str  # jax's device kind in lower case, or cpu, gpu, tpu
    channels: int  # B*E
    length: int  # T
    backend: str
    forward_ms: float  # the least of several runs
    gradient_ms: float  # forward and backward
    compile_s: float  # of forward and backward
    temporary_mib: float  # memory beside inputs and outputs, forward and backward


def fastest(table: Sequence[Measurement], kinds: Iterable[str], channels: int, length: int) -> str:
    """The fastest backend, forward and backward, at the nearest measured shape.

    `kinds` are names of the device, the most specific first: rows of the first that has any count.
    The shape is the nearest in (log B*E, log T), with B*E `channels` of the whole batch and T
    `length`, the smaller of two equally near; `UNMEASURED` without any row.
    """
    wanted = (math.log2(max(channels, 1)), math.log2(length))
    for kind in kinds:
        rows = [row for row in table if row.device == kind]
        if rows:
            shapes = sorted({(row.channels, row.length) for row in rows})
            nearest = min(shapes, key=lambda shape: math.dist(map(math.log2, shape), wanted))
            rows = [row for row in rows if (row.channels, row.length) == nearest]
            return min(rows, key=lambda row: row.gradient_ms).backend
    return UNMEASURED


@functools.cache
def committed_table() -> tuple[Measurement, ...]:
    """The measurements that come with the library."""
    lines = COMMITTED.read_text("utf-8").splitlines()
    _, *rows = csv.reader(line for line in lines if not line.startswith("#"))
    kinds = Measurement.__annotations__.values()
    return tuple(Measurement(*(kind(x) for kind, x in zip(kinds, r, strict=True))) for r in rows)
