"""The part of a file that is in memory while it is read forward."""

import os
from pathlib import Path

from mmrec_jax.data.formats.compression import (
    DAMAGE,
    ByteStream,
    compression_of,
    open_bytes,
)

_READ = 1 << 16  # bytes asked for at once


class ByteWindow:
    """Bytes `start` to `end` of a file, compression undone; both only grow.

    Attributes:
      data: the bytes.
      start: the offset of the first one.
      line: the number of the line in which it stands, from 1; None behind bytes that were passed
        over without being read.
      ended: whether nothing more can be read.
      damage: why reading ended before the file did, None as long as nothing is wrong.
      passing: whether who reads the file at another time may see no damage: the system failed, or
        the file has changed.
    """

    def __init__(self, path: Path, size: int = 0):
        """Opens a file that has `size` stored bytes, or more; what fails is in `damage`."""
        self.data = bytearray()
        self.start = 0
        self.line: int | None = 1
        self.ended = False
        self.damage: str | None = None
        self.passing = False
        self._path = path
        self._stream: ByteStream | None = None
        self._seeks = not compression_of(path.name)
        try:
            self._stream = open_bytes(path)
            if self._seeks:
                self._size = max(size, os.fstat(self._stream.fileno()).st_size)
        except OSError as error:
            self._fail(error)

    def __enter__(self) -> "ByteWindow":
        return self

    def __exit__(self, *error: object) -> None:
        if self._stream is not None:
            self._stream.close()

    @property
    def end(self) -> int:
        """The offset behind the last byte."""
        return self.start + len(self.data)

    def extend(self) -> bool:
        """Reads some more bytes; False at the end of what can be read."""
        if self.ended:
            return False
        assert self._stream is not None
        try:
            # Of a compressed file one piece at a time: what comes before damage is not lost.
            read = self._stream.read1(_READ)
        except (*DAMAGE, OSError) as error:
            self._fail(error)
            return False
        self.ended = not read
        if self.ended and self._seeks and self.end < self._size:
            self.passing = True  # who opens it later takes it for whole
            self.damage = f"{self._path}: this file has become shorter than {self._size:,} bytes"
        self.data += read
        return bool(read)

    def move(self, offset: int) -> bool:
        """Forgets the bytes before `offset`; False if the file ends there or before."""
        while self.end <= offset:
            if self._seeks and not self.ended and self.end < offset < self._size:
                assert self._stream is not None
                self._stream.seek(offset)
                self.start, self.line = offset, None
                self.data.clear()
            else:
                self.drop(self.end)
                if not self.extend():
                    return False
        self.drop(offset)
        return True

    def drop(self, offset: int) -> None:
        """Forgets the bytes before `offset`, which lies in the window or at its end."""
        count = offset - self.start
        if self.line is not None:
            self.line += self.data.count(b"\n", 0, count)
        del self.data[:count]
        self.start = offset

    def _fail(self, error: Exception) -> None:
        self.ended = True
        if isinstance(error, DAMAGE):
            kind = compression_of(self._path.name)
            self.damage = f"{self._path}: this {kind} file is damaged: {error}"
            if self.end:
                self.damage += f" (behind uncompressed byte {self.end})"
        else:
            self.passing = True
            reason = getattr(error, "strerror", None) or error
            self.damage = f"{self._path}: cannot be read: {reason}"
