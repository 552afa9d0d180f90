"""The file of measurements that `benchmarks/scan_backends.py` writes: see `scan_table.csv`."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.scan_backends import BACKENDS
from mmrec_jax.models.mmrec.scan_table import UNMEASURED, Measurement

_NOTE = f"""\
# The backends of linear_scan, measured by `python -m benchmarks.scan_backends --write-table` in
# float32: the least of several runs.
# backend="auto" takes the least gradient_ms at the nearest channels (B*E) and length (T).
# A device kind without rows, every GPU and TPU that is not listed here, has not been measured:
# "auto" means {UNMEASURED} there. A row named cpu, gpu or tpu serves all kinds without their own.
"""


def read_table(path: Path) -> list[Measurement]:
    """The measurements of a file; `UserError` if it is unreadable or a line is none."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: this table cannot be read ({error})") from None
    numbered = [(n, x) for n, x in enumerate(lines, 1) if x.strip() and not x.startswith("#")]
    if not numbered or numbered[0][1].split(",") != list(Measurement._fields):
        raise UserError(f"{path}: no table of measurements; its first row must name the columns")
    rows = []
    for number, line in numbered[1:]:
        try:
            cells = zip(Measurement.__annotations__.values(), next(csv.reader([line])), strict=True)
            row = Measurement(*(convert(cell) for convert, cell in cells))
            numbers = (row.channels, row.length, row.gradient_ms)
            if row.backend not in BACKENDS or not all(0 < x < math.inf for x in numbers):
                raise ValueError("an unknown backend, or a number that is not above 0")
            rows.append(row)
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
            writer.writerow(Measurement._fields)
            writer.writerows(ordered)
        replacement.replace(path)
    except OSError as error:
        raise UserError(f"{path}: this table cannot be written ({error.strerror})") from None


def merge(old: Iterable[Measurement], new: Iterable[Measurement]) -> list[Measurement]:
    """`new`, and of `old` what was measured on another kind of device or at another shape."""
    new = list(new)
    replaced = {(row.device, row.channels, row.length) for row in new}
    return [x for x in old if (x.device, x.channels, x.length) not in replaced] + new
