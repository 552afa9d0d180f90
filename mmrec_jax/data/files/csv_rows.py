"""Rows of CSV and TSV files."""

import contextlib
import csv
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
    refused = False

    def refuse_line(error: UserError) -> None:
        nonlocal refused
        refused = True
        refuse(error)

    with open_bytes(path) as stream, _field_limit(limit):

        def texts() -> Iterator[str]:
            # A refused line is a blank one: those behind it keep their numbers.
            next_number = 1
            for number, offset, data in lines(path, stream, limit, refuse_line):
                yield from ["\n"] * (number - next_number)
                next_number = number + 1
                try:
                    text = decoded(data, f"{path}:{number}", offset)
                except UserError as error:
                    refuse_line(error)
                    text = "\n"
                yield text

        source = texts()
        head = next(source, "")
        delimiter = "\t" if bare_name(path).endswith(".tsv") else max(",;\t", key=head.count)
        if "\r" in head.removesuffix("\n").removesuffix("\r"):
            raise UserError(
                f"{path}:1: the lines end in carriage returns alone; convert them to newlines"
            )
        names = next(csv.reader([head], delimiter=delimiter), [])
        if not names:
            raise UserError(f"{path}: the first line must name the fields of a row")
        for name in names:
            if name and names.count(name) > 1:
                raise UserError(f"{path}:1: two fields are named {name!r}; rename one of them")
        rows = csv.reader(source, delimiter=delimiter, strict=True)
        while True:
            refused = False
            try:
                row = next(rows, None)
            except csv.Error as error:
                refuse(UserError(f"{path}:{rows.line_num + 1}: bad CSV: {error}"))
                continue
            if row is None:
                return
            location = f"{path}:{rows.line_num + 1}"
            if refused:
                continue
            if len(row) == len(names):
                yield location, dict(zip(names, row, strict=True))
            elif row:
                message = f"this row has {len(row)} fields, the first one {len(names)}"
                refuse(UserError(f"{location}: {message}"))


@contextlib.contextmanager
def _field_limit(limit: int) -> Iterator[None]:
    """Fields of up to `limit` characters; the module has one limit for all readers."""
    others = csv.field_size_limit(limit)
    try:
        yield
    finally:
        csv.field_size_limit(others)
