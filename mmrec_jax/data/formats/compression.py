"""Compressed files as streams of bytes."""

import gzip
import io
import lzma
import zlib
from pathlib import Path

from mmrec_jax.errors import UserError

COMPRESSED = (".gz", ".zst", ".xz")
# What the streams raise where their bytes are not what was compressed.
DAMAGE = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError)

_PIECE = 1 << 12  # compressed bytes given to Zstandard at once: what comes out is not bounded


def compression_of(name: str) -> str:
    """The suffix that says how a file is compressed, in small letters; empty: it is not."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in COMPRESSED else ""


def open_bytes(path: Path) -> io.RawIOBase | io.BufferedIOBase:
    """The bytes of a file, compression undone; only those of a plain file can be sought.

    Raises:
      UserError: the package that undoes the compression is not installed.
      OSError: the file cannot be opened.
    """
    kind = compression_of(path.name)
    if kind == ".gz":
        return gzip.open(path, "rb")
    if kind == ".xz":
        return lzma.open(path, "rb")
    if kind == ".zst":
        return _ZstandardStream(path)
    return open(path, "rb", buffering=0)


class _ZstandardStream(io.RawIOBase):
    """Frames end to end. The package's own stream takes a file that was cut off for a whole one."""

    def __init__(self, path: Path):
        import zstandard

        self._error = zstandard.ZstdError
        self._decompressor = zstandard.ZstdDecompressor()
        self._file = open(path, "rb")
        self._frame = None
        self._rest = b""
        self._ready = b""

    def read1(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        while not self._ready:
            piece = self._rest or self._file.read(_PIECE)
            self._rest = b""
            if not piece:
                if self._frame is not None:
                    raise EOFError("it ends in the middle of a frame")
                return b""
            frame = self._frame or self._decompressor.decompressobj()
            try:
                self._ready = frame.decompress(piece)
            except self._error as error:
                raise EOFError(str(error)) from None
            self._rest = frame.unused_data
            self._frame = None if frame.eof else frame
        found, self._ready = self._ready[:size], self._ready[size:]
        return found

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        super().close()
