"""Records of an ArrayRecord file (github.com/google/array_record)."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from array_record.python import array_record_module

from mmrec_jax.data.formats.chunk import CHUNK_BYTES, Chunk, telling_chunk
from mmrec_jax.data.formats.example_proto import read_example
from mmrec_jax.data.formats.json_record import json_record
from mmrec_jax.data.formats.value_chunk import Content, ValueChunk
from mmrec_jax.errors import UserError

# What is read in advance is held; and we read in pieces of many records anyway.
_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"
_SAMPLES = 16
_MOST_RECORDS = 4096


@dataclasses.dataclass(frozen=True)
class ArrayRecordFile:
    """An ArrayRecord file as chunks of equally many records, about `chunk_bytes` together.

    Only the wanted records are read. How many make a chunk is decided by the lengths of 16 of them,
    and what they are by the first one: a JSON object, a tf.train.Example, or else UTF-8 text.

    Attributes:
      path: where it is.
      size: its bytes.
      field: of JSON objects and Examples: where the text stands.
      max_record_bytes: a longer record is refused.
      records: how many there must be, None where that is not known.
      chunk_bytes: about the bytes of a chunk.
    """

    path: Path
    size: int
    field: str
    max_record_bytes: int
    records: int | None = None
    chunk_bytes: int = CHUNK_BYTES

    @property
    def name(self) -> str:
        """The path, as error messages have it."""
        return str(self.path)

    def chunks(self, first: int = 0, step: int = 1) -> Iterator[Chunk]:
        """See `SourceFile.chunks`. Records that are damaged are left out with their chunk."""
        try:
            reader = self._open()
            total = reader.num_records()
            places = range(0, total, max(1, total // _SAMPLES))
            samples = [reader.read([place])[0] for place in places]
        except OSError as error:
            reason = error.strerror or error
            yield self._chunk(first, "text", f"{self.name}: cannot be read: {reason}")
            return
        except UserError as error:
            telling = telling_chunk(0, first, step)
            if telling is not None:
                yield self._chunk(telling, "text", str(error))
            return
        except (RuntimeError, IndexError) as error:  # which does not say if the disk failed
            yield self._chunk(first, "text", f"{self._damage(error)} (no record was read)")
            return
        if not samples:
            return
        mean = max(1, sum(map(len, samples)) // len(samples))
        count = max(1, min(_MOST_RECORDS, self.chunk_bytes // mean))
        content = _content(samples[0])
        for number in range(first, -(-total // count), step):
            begin, end = number * count, min(number * count + count, total)
            try:
                values = reader.read(begin, end)
            except (RuntimeError, IndexError) as error:
                where = f"records {begin + 1} to {end} were not read"
                yield self._chunk(number, content, f"{self._damage(error)} ({where})")
                continue
            yield self._chunk(number, content).with_values(values, begin + 1, self.max_record_bytes)

    def _open(self) -> Any:
        with open(self.path, "rb"):  # says why it cannot be
            reader = array_record_module.ArrayRecordReader(self.name, _OPTIONS)
        if not reader.ok():
            raise UserError(f"{self.name}: this ArrayRecord file is damaged: it has no index")
        found = reader.num_records()
        if self.records is not None and found != self.records:
            raise UserError(
                f"{self.name}: this file has {found:,} records, but its data set's "
                f"dataset_info.json says {self.records:,}"
            )
        return reader

    def _damage(self, error: Exception) -> str:
        reason = str(error).split(" (")[0].split(";")[0]
        return f"{self.name}: this ArrayRecord file is damaged: {reason}"

    def _chunk(self, number: int, content: Content, *errors: str) -> ValueChunk:
        return ValueChunk(
            file=self.name, number=number, errors=errors, content=content, field=self.field
        )


def _content(record: bytes) -> Content:
    try:
        json_record(record.decode("utf-8"), "")
        return "json"
    except (UserError, UnicodeDecodeError):
        pass
    try:
        return "example" if read_example(record) else "text"
    except (ValueError, UnicodeDecodeError):
        return "text"
