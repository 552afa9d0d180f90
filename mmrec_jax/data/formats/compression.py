"""Compressed files as streams of bytes."""

import gzip
import io
import lzma
import zlib
from pathlib import Path
from typing import Protocol

import zstandard

COMPRESSED = (".gz", ".zst", ".xz")
# What the streams raise where their bytes are not what was compressed.
DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)

_PIECE = 1 << 12  # compressed bytes given to Zstandard at once: what comes out is not bounded


def compression_of(name: str) -> str:
    """The suffix that says how a file is compressed, in small letters; empty: it is not."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in COMPRESSED else ""


class ByteStream(Protocol):
    """A file opened for reading."""

    def read1(self, size: int, /) -> bytes:
        """Some bytes, `size` at most, from one read of the file below; none at the end."""

    def seek(self, offset: int, /) -> int:
        """Goes to an offset."""

    def fileno(self) -> int:
        """The descriptor."""

    def close(self) -> None:
        """Closes the file."""


def open_bytes(path: Path) -> ByteStream:
    """The bytes of a file, compression undone; only those of a plain file can be sought.

    Raises:
      OSError: the file cannot be opened.
    """
    kind = compression_of(path.name)
    if kind == ".gz":
        return gzip.open(path, "rb")
    if kind == ".xz":
        return lzma.open(path, "rb")
    if kind == ".zst":
        return _ZstandardStream(path)
    return open(path, "rb")


class _ZstandardStream(io.BufferedIOBase):
    """Frames end to end. The package's own stream takes a file that was cut off for a whole one."""

    def __init__(self, path: Path):
        self._file = open(path, "rb")  # noqa: SIM115 - closed with this stream
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._rest = b""
        self._ready = b""

    def read1(self, size: int = -1, /) -> bytes:
        """See `ByteStream.read1`."""
        while not self._ready:
            piece = self._rest or self._file.read(_PIECE)
            if not piece:
                if self._frame is not None:
                    raise EOFError("it ends in the middle of a frame")
                return b""
            frame = self._frame or self._decompressor.decompressobj()
            self._ready = frame.decompress(piece)
            self._rest = frame.unused_data
            self._frame = None if frame.eof else frame
        found, self._ready = self._ready[:size], self._ready[size:]
        return found

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()
