"""Documents of plain text."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Literal

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.byte_chunk import ByteChunk
from mmrec_jax.data.formats.chunk import Refuse
from mmrec_jax.errors import UserError

Cut = Literal["block", "line", "file"]

# Two or more line ends with nothing but blanks between them. The carriage return of the first one
# is removed with the line ends of the block: a pattern that begins with one byte is found faster.
_BLANK_LINES = re.compile(rb"\n(?:[ \t\f\v]*\r?\n)+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextChunk(ByteChunk):
    """Lines or blocks of a UTF-8 text, or all of it.

    `cut` "file" keeps the text as it is; "line" and "block" drop the line ends around each
    document. Only a newline (with or without a carriage return) ends a line.
    """

    cut: Cut

    def _documents(self, refuse: Refuse) -> Iterator[Document]:
        for piece, offset, line in self._pieces():
            try:
                text = self.decode(piece, offset)
            except UserError as error:
                refuse(error)
                continue
            if text and not text.isspace():
                yield Document(self.file if self.cut == "file" else self.place(line, offset), text)

    def _pieces(self) -> Iterator[tuple[bytes, int, int]]:
        if self.cut == "block":
            return self._blocks()
        if self.cut == "line":
            return self.lines()
        return iter([(self.data, 0, 0)])

    def _blocks(self) -> Iterator[tuple[bytes, int, int]]:
        """(bytes, offset, line) of each run of lines between blank lines."""
        data, start, line = self.data, 0, 0
        for separator in [*_BLANK_LINES.finditer(data), None]:
            end = separator.start() if separator else len(data)
            block = data[start:end]
            body = block.lstrip(b"\r\n")
            removed = len(block) - len(body)
            yield body.rstrip(b"\r\n"), start + removed, line + block.count(b"\n", 0, removed)
            if separator:
                line += data.count(b"\n", start, separator.end())
                start = separator.end()
