"""Measured speeds of the scan backends, and the backend they make "auto" mean.

The measurements are `scan_table.csv` beside this file, committed and written by
`python -m benchmarks.scan_backends --write-table`. Nothing is ever timed while a model runs.
"""

import csv
import dataclasses
import functools
import math
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.scan_backends import BACKENDS

# For device kinds without rows. Stepping through time leaves an accelerator idle.
UNMEASURED = "associative"
COMMITTED = Path(__file__).with_suffix(".csv")

_NOTE = f"""\
# The backends of linear_scan, measured by `python -m benchmarks.scan_backends --write-table` in
# float32: the least of several runs.
# backend="auto" takes the least gradient_ms at the nearest channels (B*E) and length (T).
# A device kind without rows, every GPU and TPU that is not listed here, has not been measured:
# "auto" means {UNMEASURED} there. A row named cpu, gpu or tpu serves all kinds without their own.
"""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One row of the table: one backend at one shape on one kind of device."""

    device: str  # jax's device kind in lower case, or cpu, gpu, tpu
    channels: int  # B*E
    length: int  # T
    backend: str
    forward_ms: float  # the least of several runs
    gradient_ms: float  # forward and backward
    compile_s: float  # of forward and backward
    temporary_mib: float  # memory beside inputs and outputs, forward and backward

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise ValueError(f"unknown backend {self.backend!r}; use {', '.join(BACKENDS)}")
        for name in ("channels", "length", "gradient_ms"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0")


_COLUMNS = typing.get_type_hints(Measurement)


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
    return tuple(read_table(COMMITTED))


def read_table(path: Path) -> list[Measurement]:
    """The measurements of a file; `UserError` if it is unreadable or a line is none."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: this table cannot be read ({error})") from None
    numbered = [(n, x) for n, x in enumerate(lines, 1) if x.strip() and not x.startswith("#")]
    if not numbered or numbered[0][1].split(",") != list(_COLUMNS):
        raise UserError(f"{path}: no table of measurements; its first row must name the columns")
    rows = []
    for number, line in numbered[1:]:
        try:
            cells = zip(_COLUMNS.values(), next(csv.reader([line])), strict=True)
            rows.append(Measurement(*(convert(cell) for convert, cell in cells)))
        except ValueError as error:
            raise UserError(f"{path} line {number}: {error}") from None
    return rows


def write_table(path: Path, rows: Iterable[Measurement]) -> None:
    """Replaces the file by these measurements, sorted; if it cannot be written, it stays."""
    order = list(BACKENDS)
    ordered = sorted(
        rows, key=lambda row: (row.device, row.channels, row.length, order.index(row.backend))
    )
    replacement = path.with_name(path.name + ".partial")
    try:
        with replacement.open("w", encoding="utf-8", newline="") as file:
            file.write(_NOTE)
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(dataclasses.astuple(row) for row in ordered)
        replacement.replace(path)
    except OSError as error:
        raise UserError(f"{path}: this table cannot be written ({error.strerror})") from None


def merge(old: Iterable[Measurement], new: Iterable[Measurement]) -> list[Measurement]:
    """`new`, and of `old` what was measured on another kind of device or at another shape."""
    new = list(new)
    replaced = {(row.device, row.channels, row.length) for row in new}
    return [x for x in old if (x.device, x.channels, x.length) not in replaced] + new
