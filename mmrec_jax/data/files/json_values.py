"""Records of JSON: one a line, or a file that is one array or a few objects of many lines."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrec_jax.data.files.compression import open_bytes
from mmrec_jax.data.files.records import JSON_DECODER, json_record, require_object
from mmrec_jax.data.files.refusals import Refuse, too_long
from mmrec_jax.data.files.text import BOM, decoded, lines
from mmrec_jax.errors import UserError

_READ = 1 << 16  # characters; what is read at once doubles as long as no record ends in it
_NOT_BLANK = re.compile("[^ \t\r\n\ufeff]")
# An error so close to the end of what was read may be of a value that goes on (`tru`, `\u00`).
_CUT_OFF = 16


def json_records(
    path: Path, any_shape: bool, limit: int, refuse: Refuse
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(location, object) of each record of at most `limit` bytes.

    With `any_shape` the file may be one array, or objects of many lines, too.

    Raises:
      UserError: the file cannot be read or is damaged; behind an error in an array there is no
        telling where the next record begins.
    """
    with open_bytes(path) as stream:
        head = stream.peek(_READ)[:_READ].lstrip(BOM + b" \t\r\n")
        first, _, rest = head.partition(b"\n")
        if any_shape and (first.startswith(b"[") or (first.strip() == b"{" and rest)):
            yield from _values(path, stream, limit, refuse)
            return
        for number, offset, data in lines(path, stream, limit, refuse):
            location = f"{path}:{number}"
            try:
                line = decoded(data.rstrip(b"\r\n"), location, offset)
                if not line or line.isspace():
                    continue
                record = json_record(line, location)
            except UserError as error:
                refuse(error)
                continue
            yield location, record


def _values(
    path: Path, stream: io.BufferedReader, limit: int, refuse: Refuse
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The elements of an array, or values that follow each other."""
    text, number = _Window(path, stream), 0
    array = text.take("[")
    closed = array and text.take("]")
    while not closed and text.next():
        number += 1
        location = f"{path}, record {number}"
        value, length = text.value(location, limit)
        try:
            if length > limit:
                raise too_long(location, limit)
            record = require_object(value, location)
        except UserError as error:
            refuse(error)
        else:
            yield location, record
        closed = array and text.take("]")
        if array and not closed and text.next() and not text.take(","):
            raise UserError(f"{location}: bad JSON: behind it should be a comma; {_REST}")
    if array and not closed:
        raise UserError(f"{path}: bad JSON: the array has no end; is the file whole?")
    if text.next():
        raise UserError(f"{path}: bad JSON: something stands behind the array")


_REST = "what follows it was not read"


class _Window:
    """The part of a text that is in memory while it is parsed forward."""

    def __init__(self, path: Path, stream: io.BufferedReader):
        self._path = path
        self._stream = io.TextIOWrapper(stream, "utf-8", newline="")
        self._text = ""
        self._index = 0
        self._ended = False

    def next(self) -> str:
        """Goes to the next character that is not blank; empty: there is none."""
        while not (match := _NOT_BLANK.search(self._text, self._index)):
            self._index = len(self._text)
            if not self._extend(_READ):
                return ""
        self._index = match.start()
        return match[0]

    def take(self, character: str) -> bool:
        """Goes behind this character, if it is the next one that is not blank."""
        found = self.next() == character
        self._index += found
        return found

    def value(self, location: str, limit: int) -> tuple[Any, int]:
        """The next value, and how many characters it had.

        Raises:
          UserError: it is no JSON, or does not end within `limit` characters.
        """
        size = _READ
        while True:
            try:
                value, end = JSON_DECODER.raw_decode(self._text, self._index)
            except json.JSONDecodeError as error:
                open_string = error.msg.startswith("Unterminated string")
                cut_off = open_string or error.pos > len(self._text) - _CUT_OFF
                if self._ended or not cut_off:
                    raise UserError(f"{location}: bad JSON: {error.msg}; {_REST}") from None
            except RecursionError:
                raise UserError(f"{location}: bad JSON: nested too deeply; {_REST}") from None
            else:
                # A number at the end of what was read may go on.
                if end < len(self._text) or self._ended or isinstance(value, dict | list | str):
                    length, self._index = end - self._index, end
                    return value, length
            if len(self._text) - self._index > limit:
                raise UserError(f"{too_long(location, limit)}; {_REST}")
            self._extend(size)
            size *= 2

    def _extend(self, size: int) -> bool:
        try:
            text = self._stream.read(size)
        except UnicodeDecodeError as error:
            raise UserError(
                f"{self._path}: not UTF-8 (0x{error.object[error.start]:02x}); convert the file to "
                "UTF-8"
            ) from None
        self._ended = not text
        self._text = self._text[self._index :] + text
        self._index = 0
        return not self._ended
