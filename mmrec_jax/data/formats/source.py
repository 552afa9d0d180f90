"""What a part of `data.train` names: files, and how they are read."""

import dataclasses
import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Protocol

from mmrec_jax.data.formats.array_record_file import ArrayRecordFile
from mmrec_jax.data.formats.arrow_file import ArrowFile
from mmrec_jax.data.formats.chunk import CHUNK_BYTES, Chunk
from mmrec_jax.data.formats.huggingface import huggingface_files, is_saved
from mmrec_jax.data.formats.json_array_file import JsonArrayFile, is_json_array
from mmrec_jax.data.formats.parquet_file import ParquetFile
from mmrec_jax.data.formats.paths import file_kind, is_json_lines, matching_files, split_pattern
from mmrec_jax.data.formats.record_file import RecordFile
from mmrec_jax.data.formats.text_chunk import Cut
from mmrec_jax.data.formats.tfds import tfds_shards

_TFDS, _HUGGING_FACE = "tfds:", "hf:"


class SourceFile(Protocol):
    """A file of records; picklable."""

    @property
    def name(self) -> str:
        """The path, as error messages have it."""

    @property
    def size(self) -> int:
        """Its bytes, as they are stored."""

    def chunks(self, first: int = 0, step: int = 1) -> Iterator[Chunk]:
        """Chunks `first`, `first + step`, ... of the file, without those that have no record.

        Nothing is raised for what is wrong in the file: the chunk where it was seen carries it,
        so the chunks of all of `range(step)` together carry every record and every error once; but
        where the system fails to read, each carries it. Damage before `first`, which came since
        that chunk was reached, is carried by `first`.

        Raises:
          UserError: a package that reads such files is not installed.
        """


@dataclasses.dataclass(frozen=True)
class Source:
    """What one comma-separated part of a pattern names.

    Attributes:
      name: the part, as the user wrote it.
      files: sorted by path, or in the order of the data set.
    """

    name: str
    files: tuple[SourceFile, ...]

    @property
    def identity(self) -> str:
        """sha256 of the files' names, without their folders, and sizes, in hexadecimal digits."""
        listed = [f"{Path(file.name).name}\0{file.size}\n" for file in self.files]
        return hashlib.sha256("".join(listed).encode("utf-8", "surrogateescape")).hexdigest()


@dataclasses.dataclass(frozen=True)
class _Reading:
    """How files are opened; see `find_sources`."""

    option: str
    cut: Cut
    field: str
    max_record_bytes: int
    kind: Literal["text", "json"] | None
    tfds_dir: str
    chunk_bytes: int

    def find(self, part: str) -> Sequence[SourceFile]:
        """The files of one part."""
        if part.startswith(_TFDS):
            name = part.removeprefix(_TFDS)
            shards = tfds_shards(name, self.tfds_dir, self.field, self.option)
            return [self.array_record(path, records) for path, records in shards]
        folder = Path(part).expanduser()
        if part.startswith(_HUGGING_FACE) or is_saved(folder):
            files = huggingface_files(part.removeprefix(_HUGGING_FACE), self.option)
            return [self.arrow(path) for path in files]
        return [self.open(path) for path in matching_files(part, self.option)]

    def open(self, path: Path) -> SourceFile:
        """A file as its name says, or as `kind` does where that leaves a choice."""
        kind = file_kind(path)
        if kind == "array_record":
            return self.array_record(path, None)
        if kind == "parquet":
            return ParquetFile(path, _size(path), self.field, *self._limits())
        if kind == "arrow":
            return self.arrow(path)
        chosen = self.kind or kind
        if chosen == "json" and not is_json_lines(path) and is_json_array(path):
            return JsonArrayFile(path, _size(path), self.field, *self._limits())
        return RecordFile(path, _size(path), self.field, *self._limits(), kind=chosen, cut=self.cut)

    def arrow(self, path: Path) -> SourceFile:
        """An Arrow file."""
        return ArrowFile(path, _size(path), self.field, *self._limits())

    def array_record(self, path: Path, records: int | None) -> SourceFile:
        """An ArrayRecord file."""
        return ArrayRecordFile(
            path, _size(path), self.field, self.max_record_bytes, records, self.chunk_bytes
        )

    def _limits(self) -> tuple[int, int]:
        return self.max_record_bytes, self.chunk_bytes


def find_sources(
    pattern: str,
    option: str,
    cut: Cut,
    field: str,
    max_record_bytes: int,
    *,
    kind: Literal["text", "json"] | None = None,
    tfds_dir: str = "",
    chunk_bytes: int = CHUNK_BYTES,
) -> list[Source]:
    """One source for each comma-separated part of a pattern.

    Args:
      pattern: paths, globs and folders; "tfds:NAME/CONFIG:split", "hf:NAME:split".
      option: the name of the config field or option, for error messages.
      cut: what a document of a text is: see `TextFilesConfig.documents`.
      field: the field of a record that holds the text.
      max_record_bytes: a longer record is refused.
      kind: reads files of text and of JSON as this one; None: as their names say.
      tfds_dir: where TensorFlow Datasets lie; empty: where they do by default.
      chunk_bytes: about the bytes of a chunk.

    Raises:
      UserError: a part names no file or data set, or a package is not installed.
    """
    reading = _Reading(option, cut, field, max_record_bytes, kind, tfds_dir, chunk_bytes)
    return [Source(part, tuple(reading.find(part))) for part in split_pattern(pattern, option)]


def open_file(path: Path, field: str) -> SourceFile:
    """One file as its name says, without a limit on its records; a text's documents are blocks."""
    return _Reading("", "block", field, sys.maxsize, None, "", CHUNK_BYTES).open(path)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # whoever reads its chunks is told
        return 0
