"""What a part of `data.train` names: files, and how they are read."""

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

from mmrec_jax.data.formats.chunk import CHUNK_BYTES, Chunk
from mmrec_jax.data.formats.paths import is_json, matching_files, split_pattern
from mmrec_jax.data.formats.record_file import RecordFile
from mmrec_jax.data.formats.text_chunk import Cut


class SourceFile(Protocol):
    """A file of records."""

    @property
    def name(self) -> str:
        """The path, as error messages have it."""

    @property
    def size(self) -> int:
        """Its bytes, as they are stored."""

    def chunks(self, first: int = 0, step: int = 1) -> Iterator[Chunk]:
        """Chunks `first`, `first + step`, ... of the file, without those that have no record.

        Nothing is raised for what is wrong in the file: the chunk where it was seen carries it,
        so the chunks of all of `range(step)` together carry every record and every error once.
        """


@dataclasses.dataclass(frozen=True)
class Source:
    """What one comma-separated part of a pattern names.

    Attributes:
      name: the part, as the user wrote it.
      files: sorted by path.
    """

    name: str
    files: tuple[SourceFile, ...]

    @property
    def identity(self) -> str:
        """sha256 of the files' names, without their folders, and sizes, in hexadecimal digits."""
        listed = [f"{Path(file.name).name}\0{file.size}\n" for file in self.files]
        return hashlib.sha256("".join(listed).encode("utf-8", "surrogateescape")).hexdigest()


def find_sources(
    pattern: str,
    option: str,
    cut: Cut,
    field: str,
    max_record_bytes: int,
    *,
    kind: Literal["text", "json"] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> list[Source]:
    """One source for each comma-separated part of a pattern.

    Args:
      pattern: paths, globs, folders.
      option: the name of the config field or option, for error messages.
      cut: what a document of a text is: see `DataConfig.documents`.
      field: the field of a record that holds the text.
      max_record_bytes: a longer record is refused.
      kind: reads files of text and of JSON as this one; None: as their names say.
      chunk_bytes: about the bytes of a chunk.

    Raises:
      UserError: a part names no file.
    """

    def open_file(path: Path) -> SourceFile:
        chosen = kind or ("json" if is_json(path) else "text")
        size = path.stat().st_size
        return RecordFile(path, size, chosen, cut, field, max_record_bytes, chunk_bytes)

    return [
        Source(part, tuple(open_file(path) for path in matching_files(part, option)))
        for part in split_pattern(pattern, option)
    ]
