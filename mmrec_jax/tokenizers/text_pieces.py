"""Text of any size, a piece at a time."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from mmrec_jax.data.formats.byte_window import ByteWindow
from mmrec_jax.data.formats.paths import bare_name, file_kind
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.formats.source import open_file
from mmrec_jax.errors import UserError

_LONGEST = 1 << 20  # characters; a longer line of plain text is cut at a space
_CONLLU_TEXT = "# text = "


def text_pieces(path: Path, field: str = "text") -> Iterator[str]:
    """The text of a file in its order: some whole lines at a time, or one record.

    The pieces of a text file, laid end to end, are the text without a byte-order mark. Of a
    `.conllu` file the sentences are read; files of other forms as `data.formats` does.

    Args:
      path: the file; text, `.conllu` and JSON may be compressed.
      field: of a record, that holds the text.

    Raises:
      UserError: the file cannot be read, is damaged or not UTF-8, or a record is not what the
        file's name promises.
    """
    if file_kind(path) != "text":
        for chunk in open_file(path, field).chunks():
            for document in chunk.documents(Refusals("stop")):
                yield document.text
    elif bare_name(path).endswith(".conllu"):
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
    first = more = True
    with ByteWindow(path) as window:
        while more:
            more = window.extend()
            if window.damage:
                raise UserError(window.damage)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(bytes(window.data), final=not more)
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}: not UTF-8 at byte offset {window.start - pending + error.start} "
                    f"(0x{error.object[error.start]:02x}); convert the file to UTF-8"
                ) from None
            window.drop(window.end)
            yield text.removeprefix("\ufeff") if first else text
            first = first and not text
