"""Lines of bytes, and documents of plain text."""

import codecs
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from mmrec_jax.data.document import Document
from mmrec_jax.data.files.compression import open_bytes
from mmrec_jax.data.files.refusals import Refuse, too_long
from mmrec_jax.errors import UserError

Cut = Literal["block", "line", "file"]

BOM = codecs.BOM_UTF8
_BLANK = b" \t\r\n\f\v" + BOM
_MARKS = re.compile("^\ufeff+", re.MULTILINE)


def lines(
    path: Path, stream: io.BufferedReader, limit: int, refuse: Refuse
) -> Iterator[tuple[int, int, bytes]]:
    """(number from 1, offset, bytes with the newline) of each line that is no longer than `limit`.

    Only a newline (with or without a carriage return) ends a line.
    """
    number = offset = 0
    while data := stream.readline(limit + 1):
        number += 1
        begin = offset
        offset += len(data)
        if len(data) <= limit or data.endswith(b"\n"):
            yield number, begin, data
            continue
        refuse(too_long(f"{path}:{number}: this line", limit))
        while data and not data.endswith(b"\n"):
            data = stream.readline(1 << 20)
            offset += len(data)


def text_documents(path: Path, cut: Cut, limit: int, refuse: Refuse) -> Iterator[Document]:
    """The documents of a UTF-8 text, `cut` as `TextConfig.documents` says; blank ones are left out.

    "file" keeps the text as it is; "line" and "block" drop the line ends around each document. One
    of more than `limit` bytes is refused.

    Raises:
      UserError: the file cannot be read or is damaged.
    """
    with open_bytes(path) as stream:
        found = (
            _whole(path, stream, limit)
            if cut == "file"
            else _cuts(path, stream, cut, limit, refuse)
        )
        for location, offset, data in found:
            try:
                text = decoded(data, location, offset)
            except UserError as error:
                refuse(error)
                continue
            if text and not text.isspace():
                yield Document(location, text)


def decoded(data: bytes, location: str, offset: int) -> str:
    """The text without byte-order marks at the beginnings of lines.

    Raises:
      UserError: it is not UTF-8; `offset` is that of `data` in the file.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{location}: not UTF-8 at byte offset {offset + error.start} "
            f"(0x{data[error.start]:02x}); convert the file to UTF-8"
        ) from None
    return without_marks(text)


def without_marks(text: str) -> str:
    """The text without byte-order marks at the beginnings of lines: files were joined there."""
    return _MARKS.sub("", text) if "\ufeff" in text else text


def _whole(path: Path, stream: io.BufferedReader, limit: int) -> Iterator[tuple[str, int, bytes]]:
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise too_long(f"{path}: this text", limit)
    yield str(path), 0, data


def _cuts(
    path: Path, stream: io.BufferedReader, cut: Cut, limit: int, refuse: Refuse
) -> Iterator[tuple[str, int, bytes]]:
    """(location, offset, bytes) of each line, or run of lines between blank ones."""
    block, size, number, offset = list[bytes](), 0, 0, 0
    for line, begin, data in lines(path, stream, limit, refuse):
        if not data.strip(_BLANK):
            if block:
                yield f"{path}:{number}", offset, b"".join(block).rstrip(b"\r\n")
            block, size = [], 0
            continue
        if cut == "line":
            yield f"{path}:{line}", begin, data.rstrip(b"\r\n")
            continue
        if not size:
            number, offset = line, begin
        size += len(data)
        if size <= limit:
            block.append(data)
        elif block or size == len(data):
            refuse(too_long(f"{path}:{number}: this block of lines", limit))
            block = []
    if block:
        yield f"{path}:{number}", offset, b"".join(block).rstrip(b"\r\n")
