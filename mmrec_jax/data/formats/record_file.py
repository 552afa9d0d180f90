"""Text and JSON lines: files whose records are parted by line ends."""

import codecs
import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Literal

from mmrec_jax.data.formats.byte_chunk import ByteChunk
from mmrec_jax.data.formats.byte_window import ByteWindow
from mmrec_jax.data.formats.chunk import Chunk, telling_chunk, too_long
from mmrec_jax.data.formats.compression import compression_of
from mmrec_jax.data.formats.field_file import FieldFile
from mmrec_jax.data.formats.json_chunk import JsonChunk
from mmrec_jax.data.formats.text_chunk import Cut, TextChunk

# Before each record but the first stands a match; a match holds no newline but its first and last
# byte, and two matches have different first bytes.
_BORDERS = {
    "line": re.compile(rb"\n"),
    "block": re.compile(rb"\n[ \t\f\v]*\r?\n"),
    "file": re.compile(rb"(?!)"),  # there is none
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordFile(FieldFile):
    """A text or JSON-lines file, `.gz`, `.zst`, `.xz` or plain, as chunks.

    Chunk i has the records before which a border begins in bytes [i S, (i + 1) S) of the text
    (S = `chunk_bytes`), and chunk 0 the first record of the file. Whether one begins is seen from
    the bytes behind: a plain file is sought, and what lies between the chunks asked for is not
    read. Memory: S and the longest record.

    Attributes:
      kind: "text" or "json" lines; `field` is of the latter.
      cut: of a text: what a document is.
    """

    kind: Literal["text", "json"]
    cut: Cut

    def chunks(self, first: int = 0, step: int = 1) -> Iterator[Chunk]:
        """Chunks `first`, `first + step`, ... of the file, without those that have no record.

        Nothing is raised for what is wrong in the file: the chunk where it was seen carries it.
        """
        whole = self.kind == "text" and self.cut == "file"
        if whole and first > 0:
            return
        told = False
        with ByteWindow(self.path, self.size) as window:
            number = first
            while window.move(number * self.chunk_bytes) and not (whole and number > 0):
                data, errors = self._read(window, number)
                here = whole or window.passing or number == window.end // self.chunk_bytes
                if window.damage and here:
                    errors, told = (*errors, window.damage), True
                if errors or (data and not data.isspace()):
                    yield self._chunk(window, number, data, errors)
                number += step
            if window.damage and not told:
                seen = 0 if whole else window.end // self.chunk_bytes
                telling = telling_chunk(seen, first, step, window.passing)
                if telling is not None:
                    yield self._chunk(window, telling, b"", (window.damage,))

    def _read(self, window: ByteWindow, number: int) -> tuple[bytes, tuple[str, ...]]:
        """The records of a chunk, which the window then begins with, and what is wrong."""
        stop = (number + 1) * self.chunk_bytes
        begin = self._border(window, window.start, stop) if number else self._beginning(window)
        if begin is None:
            return b"", ()
        window.move(begin)
        end = self._border(window, stop, stop + self.max_record_bytes)
        at_end = end is None and window.ended and not window.damage
        if at_end:
            end = window.end
        last = place = begin  # the border before the last record, and where that begins
        if end is None or end - begin > self.max_record_bytes:
            for match in self._pattern.finditer(window.data):
                if begin + match.start() >= stop:
                    break
                last, place = begin + match.start(), begin + match.end()
        errors: tuple[str, ...] = ()
        if end is None or end - last > self.max_record_bytes:
            at_end = False
            if not window.damage:
                record = f"{self.name}: the record at byte {place}"
                errors = (too_long(record, self.max_record_bytes),)
            end = last
        # With the newline that begins the border: the last line, if blank, is seen to be one.
        return bytes(window.data[: end - begin + (end > begin and not at_end)]), errors

    def _beginning(self, window: ByteWindow) -> int:
        """Where the first record begins: behind a byte-order mark."""
        while len(window.data) < len(codecs.BOM_UTF8) and window.extend():
            pass
        return len(codecs.BOM_UTF8) if window.data.startswith(codecs.BOM_UTF8) else 0

    def _chunk(
        self, window: ByteWindow, number: int, data: bytes, errors: tuple[str, ...]
    ) -> ByteChunk:
        common: dict[str, Any] = {
            "file": self.name,
            "number": number,
            "errors": errors,
            "data": data,
            "offset": window.start,
            "line": window.line,
            "compressed": bool(compression_of(self.path.name)),
        }
        if self.kind == "json":
            return JsonChunk(**common, field=self.field)
        return TextChunk(**common, cut=self.cut)

    @property
    def _pattern(self) -> re.Pattern[bytes]:
        return _BORDERS["line" if self.kind == "json" else self.cut]

    def _border(self, window: ByteWindow, start: int, stop: int) -> int | None:
        """The first border that begins in [start, stop)."""
        search = start
        while True:
            match = self._pattern.search(window.data, max(0, search - window.start))
            if match:
                found = window.start + match.start()
                return found if found < stop else None
            newline = window.data.rfind(b"\n", max(0, search - window.start))
            search = max(search, window.end) if newline < 0 else window.start + newline
            if search >= stop or not window.extend():
                return None
