"""Rows of CSV and TSV files."""

import csv
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

from mmrec_jax.data.files.compression import bare_name, open_bytes
from mmrec_jax.data.files.refusals import Refuse
from mmrec_jax.data.files.text import decoded, lines
from mmrec_jax.errors import UserError


def csv_rows(path: Path, limit: int, refuse: Refuse) -> Iterator[tuple[str, dict[str, str]]]:
    """("file:line", fields by their names in the first row) of each row behind that.

    Of `,`, `;` and tab that one parts the fields which the first line has most of.

    A line or field of more than `limit` bytes is refused, and the row that a refused line is in is
    left out.

    Raises:
      UserError: the file cannot be read or is damaged, or its first row does not name the fields.
    """
    refused: list[UserError] = []

    def refuse_line(error: UserError) -> None:
        refused.append(error)
        refuse(error)

    with open_bytes(path) as stream:
        source = _lines(path, stream, limit, refuse_line)
        head = next(source, "")
        delimiter = "\t" if bare_name(path).endswith(".tsv") else max(",;\t", key=head.count)
        rows = csv.reader(itertools.chain([head], source), delimiter=delimiter, strict=True)
        try:
            names = _next(rows, limit)
        except csv.Error as error:
            raise UserError(f"{path}:1: bad CSV: {error}") from None
        if not names:
            raise UserError(f"{path}: the first line must name the fields of a row")
        for name in names:
            if name and names.count(name) > 1:
                raise UserError(f"{path}:1: two fields are named {name!r}; rename one of them")
        while True:
            refused.clear()
            try:
                row = _next(rows, limit)
            except csv.Error as error:
                refuse(UserError(f"{path}:{rows.line_num}: bad CSV: {error}"))
                continue
            if row is None:
                return
            location = f"{path}:{rows.line_num}"
            if len(row) == len(names) and not refused:
                yield location, dict(zip(names, row, strict=True))
            elif row and not refused:
                message = f"this row has {len(row)} fields, the first one {len(names)}"
                refuse(UserError(f"{location}: {message}"))


def _next(rows: Iterator[list[str]], limit: int) -> list[str] | None:
    """The next row, None behind the last."""
    before = csv.field_size_limit(limit)  # of all readers of the process: put back for the others
    try:
        return next(rows, None)
    finally:
        csv.field_size_limit(before)


def _lines(path: Path, stream: io.BufferedReader, limit: int, refuse: Refuse) -> Iterator[str]:
    """Each line as text; a refused one is blank, so that those behind it keep their numbers."""
    next_number = 1
    for number, offset, data in lines(path, stream, limit, refuse):
        yield from ["\n"] * (number - next_number)
        next_number = number + 1
        try:
            yield decoded(data, f"{path}:{number}", offset)
        except UserError as error:
            refuse(error)
            yield "\n"
