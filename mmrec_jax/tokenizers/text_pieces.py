"""Text of any size, a piece at a time."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from mmrec_jax.data.formats.json_record import json_record, string_field
from mmrec_jax.data.formats.paths import file_kind
from mmrec_jax.errors import UserError

_BLOCK = 1 << 18  # bytes read at once
_LONGEST = 1 << 20  # characters; a longer line of plain text is cut at a space
_CONLLU_TEXT = "# text = "


def text_pieces(path: Path, field: str = "text") -> Iterator[str]:
    """The text of a file in its order: some whole lines at a time, or one JSON line.

    The pieces of a text file, laid end to end, are the text without a byte-order mark. Of a
    `.conllu` file the sentences are read. Any of them may be followed by `.gz`.

    Args:
      path: the file.
      field: of a JSON line, that holds the text.

    Raises:
      UserError: the file cannot be read, is a damaged .gz or not UTF-8, or a line is not what the
        file's name promises.
    """
    name = path.name.lower().removesuffix(".gz")
    if file_kind(path) == "json":
        for number, line in enumerate(_lines(path), 1):
            if line.strip():
                place = f"{path}:{number}"
                yield string_field(json_record(line, place), field, place)
    elif name.endswith(".conllu"):
        for line in _lines(path):
            if line.startswith(_CONLLU_TEXT):
                yield line.removeprefix(_CONLLU_TEXT)
    else:
        yield from _line_blocks(path, _LONGEST)


def text_size(path: Path, field: str = "text") -> int:
    """The bytes of the text of a file, without what its form adds; see `text_pieces`."""
    return sum(len(piece.encode()) for piece in text_pieces(path, field))


def _lines(path: Path) -> Iterator[str]:
    for block in _line_blocks(path, None):
        yield from block.removesuffix("\n").split("\n")


def _line_blocks(path: Path, longest: int | None) -> Iterator[str]:
    """Whole lines; one of more characters than `longest` is cut."""
    rest = ""
    for block in _decoded(path):
        text = rest + block
        cut = text.rfind("\n") + 1
        if not cut and longest is not None and len(text) > longest:
            cut = text.rfind(" ")  # the space belongs to the word after it
            cut = cut if cut > 0 else len(text)
        if cut:
            yield text[:cut]
        rest = text[cut:]
    if rest:
        yield rest


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    read = 0
    first = True
    try:
        with _open(path) as stream:
            while True:
                block = stream.read(_BLOCK)
                pending = len(decoder.getstate()[0])
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{path}: not UTF-8 at byte offset {read - pending + error.start} "
                        f"(0x{error.object[error.start]:02x}); convert the file to UTF-8"
                    ) from None
                yield text.removeprefix("\ufeff") if first else text
                first = first and not text
                read += len(block)
                if not block:
                    return
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: this .gz file is damaged: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _open(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    return open(path, "rb")
