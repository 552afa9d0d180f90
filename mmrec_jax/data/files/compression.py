"""Compressed files as streams of bytes, and files that are no text at all."""

import bz2
import contextlib
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrec_jax.errors import UserError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAGIC = {
    b"\x1f\x8b": ".gz",
    b"BZh91AY&SY": ".bz2",  # of the usual level; its first three letters may begin a text
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
}
_SUFFIXES = tuple(_MAGIC.values())
# The largest that the format allows on 64 bits; a frame takes as much memory as its window.
_ZSTANDARD: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 31}
_HEAD = 512  # bytes in which it is seen what a file is
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, MemoryError)

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
    if compression == ".zst":
        raw: Any = zstd.open(file, options=_ZSTANDARD)
    else:
        raw = openers[compression](file)
    return io.BufferedReader(raw, 1 << 17)
