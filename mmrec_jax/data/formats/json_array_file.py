"""A JSON array of objects, read without ever holding it."""

import json
from collections.abc import Iterator
from pathlib import Path

from mmrec_jax.data.formats.byte_window import ByteWindow
from mmrec_jax.data.formats.chunk import Chunk, telling_chunk, too_long
from mmrec_jax.data.formats.compression import compression_of
from mmrec_jax.data.formats.field_file import FieldFile
from mmrec_jax.data.formats.json_chunk import JsonChunk
from mmrec_jax.data.formats.json_record import json_type
from mmrec_jax.data.formats.json_scanner import JsonScanner

_BEGINNING = 1 << 12  # bytes looked at for the first one that is not blank
_BLANK = b" \t\r\n"
_MARKS = b"\xef\xbb\xbf" + _BLANK  # a byte-order mark too


def is_json_array(path: Path) -> bool:
    """Whether a file of JSON begins as an array; False where it cannot be read."""
    with ByteWindow(path) as window:
        return _beginning(window) > 0


class JsonArrayFile(FieldFile):
    """A file that is one JSON array, `.gz`, `.zst`, `.xz` or plain, as chunks.

    Chunk i has the records whose first byte is one of bytes [i S, (i + 1) S) (S = `chunk_bytes`).
    The file is always read from its beginning. Memory: S and the longest record.
    """

    def chunks(self, first: int = 0, step: int = 1) -> Iterator[Chunk]:
        """See `SourceFile.chunks`."""
        with ByteWindow(self.path, self.size) as window:
            yield from _Pass(self, window, first, step).chunks()


class _Pass:
    """One reading of the array, from its beginning."""

    def __init__(self, file: JsonArrayFile, window: ByteWindow, first: int, step: int):
        self._file = file
        self._window = window
        self._first, self._step = first, step

    def chunks(self) -> Iterator[Chunk]:
        """The wanted chunks."""
        number, records, errors = 0, list[tuple[int, bytes]](), list[str]()
        for place, found in self._elements():
            if place // self._file.chunk_bytes != number:
                if records or errors:
                    yield self._chunk(number, records, errors)
                number, records, errors = place // self._file.chunk_bytes, [], []
            if self._wanted(place):
                if isinstance(found, str):
                    errors.append(found)
                else:
                    start = self._window.start
                    # A line end in a record becomes another blank; one in a string stays an error.
                    record = self._window.data[place - start : found - start].replace(b"\n", b"\r")
                    records.append((place, bytes(record)))
        if records or errors:
            yield self._chunk(number, records, errors)

    def _wanted(self, place: int) -> bool:
        number = place // self._file.chunk_bytes
        return number >= self._first and (number - self._first) % self._step == 0

    def _elements(self) -> Iterator[tuple[int, int | str]]:
        """(begin, end) of each record, or (place, what is wrong there), in their order.

        The bytes of a record are in the window when it is given out.
        """
        window, limit = self._window, self._file.max_record_bytes
        scanner = JsonScanner()
        previous = scanned = _beginning(window)  # behind the record that ended last
        begin: int | None = None  # of the record that has not ended
        comma = long = closed = False  # long: what is read belongs to nothing that is kept
        while not closed:
            read, events = scanner.scan(bytes(window.data[scanned - window.start :]), scanned)
            scanned += read
            for event, place in events:
                if event == "end":
                    assert begin is not None
                    if not long and place - begin <= limit:
                        yield begin, place
                    elif not long:
                        yield begin, self._too_long(begin)
                    previous, begin, comma, long = place, None, True, False
                    continue
                if not long and self._wanted(place):
                    yield from self._between(previous, place, comma and event == "begin")
                long = False
                begin, previous, closed = place, place + 1, event == "close"
                if closed:
                    break
            pending = previous if begin is None else begin
            if not (closed or long) and window.end - pending > limit:
                yield pending, self._too_long(pending)
                long = True
            window.drop(scanned if long else pending)
            if not closed and not window.extend():
                break
        yield from self._ending(previous, closed)

    def _too_long(self, begin: int) -> str:
        record = f"{self._file.name}: the record at byte {begin}"
        return too_long(record, self._file.max_record_bytes)

    def _between(self, begin: int, end: int, comma: bool) -> Iterator[tuple[int, str]]:
        """What is wrong with the bytes between two records; there should be one comma."""
        start = self._window.start
        text = bytes(self._window.data[begin - start : end - start]).strip(_BLANK)
        if text == (b"," if comma else b""):
            return
        where = f"{self._file.name}, byte {begin}"
        try:
            values = json.loads(b"[" + text.strip(b"," + _BLANK) + b"]")
        except ValueError:
            values = []
        for value in values:
            yield end, f"{where}: here is a {json_type(value)}, not a JSON object"
        if not values:
            yield end, f"{where}: bad JSON: here should be a comma, or nothing"

    def _ending(self, previous: int, closed: bool) -> Iterator[tuple[int, str]]:
        """Reads what is behind the array, and says what is wrong with it."""
        window, file = self._window, self._file
        clean = closed
        if closed:
            window.drop(previous)
        while closed and (window.data or window.extend()):
            place = max(previous, window.start)
            if clean and bytes(window.data[place - window.start :]).strip(_BLANK):
                yield place, f"{file.name}, byte {place}: bad JSON: this stands behind the array"
                clean = False
            window.drop(window.end)
            if not window.extend():
                break
        message = window.damage
        if not (message or closed):
            message = f"{file.name}: bad JSON: the array has no end; is the file whole?"
        seen = window.end // file.chunk_bytes
        telling = telling_chunk(seen, self._first, self._step, window.passing)
        if message and telling is not None:
            yield max(window.end, telling * file.chunk_bytes), message

    def _chunk(self, number: int, records: list[tuple[int, bytes]], errors: list[str]) -> Chunk:
        """Records, each with the place of its first byte, as JSON lines at the same places."""
        data = bytearray()
        offset = records[0][0] if records else 0
        for place, record in records:
            if data:
                data += b" " * (place - offset - len(data) - 1) + b"\n"
            data += record
        return JsonChunk(
            file=self._file.name,
            number=number,
            errors=tuple(errors),
            data=bytes(data),
            offset=offset,
            line=None,
            compressed=bool(compression_of(self._file.path.name)),
            field=self._file.field,
        )


def _beginning(window: ByteWindow) -> int:
    """The offset behind the first bracket; 0 where something else stands there."""
    while len(window.data) < _BEGINNING and window.extend():
        pass
    head = bytes(window.data[:_BEGINNING])
    body = head.lstrip(_MARKS)
    return len(head) - len(body) + 1 if body.startswith(b"[") else 0
