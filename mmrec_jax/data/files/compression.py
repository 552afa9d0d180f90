"""Compressed files as streams of bytes, and files that are no text at all."""

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from mmrec_jax.errors import UserError

_MAGIC = {
    b"\x1f\x8b": ".gz",
    b"BZh91AY&SY": ".bz2",  # of the usual level; its first three letters may begin a text
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
}
_SUFFIXES = tuple(_MAGIC.values())
# Compressed bytes given to Zstandard at once. What comes out is not bounded by the library: at most
# 128 KiB for each 4 bytes.
_ZSTANDARD_INPUT = 1 << 10
# The largest that the format allows on 64 bits; a frame takes as much memory as its window.
_LARGEST_WINDOW = 1 << 31
_HEAD = 512  # bytes in which it is seen what a file is
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, MemoryError)

_UNPACK = "an archive: unpack it and name the files in it"
_REFUSED = {
    b"PK\x03\x04": _UNPACK,
    b"7z\xbc\xaf\x27\x1c": _UNPACK,
    b"Rar!": _UNPACK,
    b"\x04\x22\x4d\x18": "packed in a way that is not read: unpack it",  # lz4
    b"%PDF-": "a PDF: extract its text, for example with pdftotext",
    b"PAR1": "a Parquet file: unpack it and call it .parquet",
    b"ARROW1\0\0": "an Arrow file: unpack it and call it .arrow",
}


def bare_name(path: Path) -> str:
    """The name in small letters, without the suffix of a compression."""
    name = path.name.lower()
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def is_compressed(path: Path) -> bool:
    """Whether the name says so."""
    return path.suffix.lower() in _SUFFIXES


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """A text of any kind as bytes, compression undone.

    Raises:
      UserError: here or while it is read: the file cannot be read, is damaged, or is no text.
    """
    compression = ""
    try:
        with contextlib.ExitStack() as closing:
            file: Any = closing.enter_context(open(path, "rb"))
            compression = path.suffix.lower() if is_compressed(path) else ""
            compression = compression or _compression(file.peek(_HEAD))
            stream = closing.enter_context(_open(compression, file)) if compression else file
            _refuse_by_content(path, stream.peek(_HEAD)[:_HEAD])
            yield stream
    except (*_DAMAGE, OSError) as error:
        if compression and (isinstance(error, _DAMAGE) or error.errno is None):
            reason = str(error) or "it needs more memory than there is"
            message = f"{path}: this {compression} file is damaged: {reason}"
        else:
            message = f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
        raise UserError(message) from None


def _refuse_by_content(path: Path, head: bytes) -> None:
    for magic, reason in _REFUSED.items():
        if head.startswith(magic):
            raise UserError(f"{path}: this is {reason}")
    if head[257:262] == b"ustar":
        raise UserError(f"{path}: this is {_UNPACK}")
    if head.count(0) * 4 > len(head):  # without a mark, such bytes may be legal UTF-8
        raise UserError(f"{path}: this is no text, or UTF-16; convert the file to UTF-8")
    if inner := _compression(head):
        raise UserError(f"{path}: this is a {inner} file inside: unpack it once")


def _compression(head: bytes) -> str:
    """The suffix that says how a file that begins so is compressed; empty: it is not."""
    return next((suffix for magic, suffix in _MAGIC.items() if head.startswith(magic)), "")


def _open(compression: str, file: io.BufferedReader) -> io.BufferedReader:
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    raw: Any = _ZstandardFrames(file) if compression == ".zst" else openers[compression](file)
    return io.BufferedReader(raw, 1 << 17)


class _ZstandardFrames(io.RawIOBase):
    """Frames end to end. The package's own stream takes a file that was cut off for a whole one."""

    def __init__(self, file: io.BufferedReader):
        self._file = file
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        self._frame: Any = None
        self._rest = self._ready = b""
        self._given = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer as far as one read does; 0 at the end."""
        while self._given == len(self._ready):
            data = self._rest or self._file.read(_ZSTANDARD_INPUT)
            if not data:
                if self._frame is not None:
                    raise EOFError("it ends in the middle of a frame")
                return 0
            frame = self._frame or self._decompressor.decompressobj()
            self._ready, self._given = frame.decompress(data), 0
            self._rest = frame.unused_data
            self._frame = None if frame.eof else frame
        count = min(len(buffer), len(self._ready) - self._given)
        buffer[:count] = self._ready[self._given : self._given + count]
        self._given += count
        return count
