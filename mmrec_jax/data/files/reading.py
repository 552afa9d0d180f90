"""What a user's pattern names, and everything in it: documents, or records."""

import dataclasses
import hashlib
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any, TypeVar

from mmrec_jax.data.document import Document
from mmrec_jax.data.files.compression import is_compressed
from mmrec_jax.data.files.csv_rows import csv_rows
from mmrec_jax.data.files.hub import TfdsSplit, huggingface_files, is_saved
from mmrec_jax.data.files.json_values import json_records
from mmrec_jax.data.files.paths import (
    file_identity,
    file_kind,
    in_home,
    matching_files,
    split_pattern,
)
from mmrec_jax.data.files.records import text_field
from mmrec_jax.data.files.refusals import Refuse, stop, too_long
from mmrec_jax.data.files.tables import table_rows
from mmrec_jax.data.files.text import Cut, text_documents
from mmrec_jax.errors import UserError

Record = tuple[str, dict[str, Any]]  # where it stands, and its fields
Found = TypeVar("Found", bound=Sized)

_COMPRESSION = 4  # bytes of text in one of a compressed file, about


@dataclasses.dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
      documents: what a document of a text file is: see `TextConfig.documents`.
      field: the field of a record that holds the text.
      max_record_bytes: a longer document or record is refused.
    """

    documents: Cut = "block"
    field: str = "text"
    max_record_bytes: int = 1 << 30


@dataclasses.dataclass(frozen=True)
class Source:
    """What one comma-separated part of a pattern names.

    Attributes:
      name: the part, as the user wrote it.
      files: sorted by path, or in the order of the data set.
    """

    name: str
    files: tuple[Path | TfdsSplit, ...]

    @property
    def size(self) -> int:
        """The `text_bytes` of all files."""
        return sum(map(text_bytes, self.files))

    @property
    def key(self) -> str:
        """sha256 (hex) of the files' names, sizes and times of change; not of their folders."""
        listed = [self.name]
        for file in self.files:
            if isinstance(file, Path):
                status = file.stat()
                listed.append(f"{file.name} {status.st_size} {status.st_mtime_ns}")
            else:
                listed.append(file.identity)
        return hashlib.sha256("\0".join(listed).encode("utf-8", "surrogateescape")).hexdigest()

    def documents(self, reading: Reading, refuse: Refuse = stop) -> Iterator[Document]:
        """The documents of all files in their order; blank ones are left out."""
        for file in self.files:
            try:
                yield from read_file(file, reading, refuse)
            except UserError as error:
                refuse(error)

    def records(self, reading: Reading, refuse: Refuse = stop) -> Iterator[Record]:
        """(location, fields by their names) of each record; a text file is one of JSON lines."""
        for file in self.files:
            try:
                yield from _records(file, None, reading.max_record_bytes, refuse)
            except UserError as error:
                refuse(error)


def text_bytes(file: Path | TfdsSplit) -> int:
    """Bytes of the text in a file, about; 0 of a data set, whose size is not known."""
    if isinstance(file, TfdsSplit):
        return 0
    return file.stat().st_size * (_COMPRESSION if is_compressed(file) else 1)


def find_sources(pattern: str, option: str) -> list[Source]:
    """One source for each comma-separated part of a pattern; each real file is in one of them.

    Args:
      pattern: paths, globs and folders; "hf:NAME:split", "tfds:NAME/CONFIG:split".
      option: the name of the config field or option, for error messages.

    Raises:
      UserError: a part names no file or data set, or a package is not installed.
    """
    seen, sources = set[Any](), list[Source]()
    for part in split_pattern(pattern, option):
        files = list[Path | TfdsSplit]()
        for file in _find(part, option):
            identity = file_identity(file) if isinstance(file, Path) else file
            if identity not in seen:
                seen.add(identity)
                files.append(file)
        sources.append(Source(part, tuple(files)))
    return sources


def read_documents(
    pattern: str, option: str = "--data", reading: Reading = Reading(), refuse: Refuse = stop
) -> Iterator[Document]:
    """All documents of some files (see `find_sources`) in bounded memory, each file as what it is.

    Raises:
      UserError: as `find_sources`, and what `refuse` raises.
    """
    for source in find_sources(pattern, option):
        yield from source.documents(reading, refuse)


def require_text(found: Found, pattern: str, option: str) -> Found:
    """What was found in the files of `pattern`; a `UserError` where that is nothing."""
    if not found:
        raise UserError(f"{option}: the corpus is empty: there is no text in {pattern}")
    return found


def _find(part: str, option: str) -> list[Path] | list[TfdsSplit]:
    kind, colon, name = part.partition(":")
    if colon and kind == "tfds":
        return [TfdsSplit(name, option)]
    if colon and kind == "hf":
        return huggingface_files(name, option)
    if is_saved(in_home(part)):
        return huggingface_files(part, option)
    return matching_files(part, option)


def read_file(
    file: Path | TfdsSplit, reading: Reading, refuse: Refuse = stop
) -> Iterator[Document]:
    """The documents of one file; otherwise as `read_documents`."""
    limit = reading.max_record_bytes
    if isinstance(file, Path) and file_kind(file) == "text":
        yield from text_documents(file, reading.documents, limit, refuse)
        return
    for location, record in _records(file, reading.field, limit, refuse):
        try:
            text = text_field(record, reading.field, location)
            if len(text) > limit:
                raise too_long(location, limit)
        except UserError as error:
            refuse(error)
            continue
        if text and not text.isspace():
            yield Document(location, text)


def _records(
    file: Path | TfdsSplit, field: str | None, limit: int, refuse: Refuse
) -> Iterator[Record]:
    """`field`: the only one that is needed; None: all."""
    if isinstance(file, TfdsSplit):
        return file.rows()
    kind = file_kind(file)
    if kind == "csv":
        return csv_rows(file, limit, refuse)
    if kind in ("parquet", "arrow"):
        return table_rows(file, kind, field, limit)
    return json_records(file, kind == "json", limit, refuse)
