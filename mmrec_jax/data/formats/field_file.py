"""A file of records, of which one field, or all, is the text."""

import dataclasses
from pathlib import Path

from mmrec_jax.data.formats.chunk import CHUNK_BYTES


@dataclasses.dataclass(frozen=True)
class FieldFile:
    """What is common to files of text, JSON lines and arrays, Parquet and Arrow.

    Attributes:
      path: where it is.
      size: its bytes, as they are stored.
      field: where the text stands in a record: a key or a column.
      max_record_bytes: a longer record is refused.
      chunk_bytes: about the bytes of a chunk.
    """

    path: Path
    size: int
    field: str
    max_record_bytes: int
    chunk_bytes: int = CHUNK_BYTES

    @property
    def name(self) -> str:
        """The path, as error messages have it."""
        return str(self.path)
