"""Rows of an Arrow file, as `datasets` and others write them."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmrec_jax.data.formats.chunk import Chunk, telling_chunk
from mmrec_jax.data.formats.column import (
    column_values,
    import_pyarrow,
    is_passing,
    require_text,
)
from mmrec_jax.data.formats.field_file import FieldFile
from mmrec_jax.data.formats.value_chunk import ValueChunk
from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    import pyarrow

_FILE_MAGIC = b"ARROW1"  # the form with an index; the other is a bare stream


class ArrowFile(FieldFile):
    """An Arrow IPC file or stream as chunks.

    Each record batch is cut into chunks of equally many rows, about `chunk_bytes` of the column
    together. The column is always read whole, one record batch at a time.
    """

    def chunks(self, first: int = 0, step: int = 1) -> Iterator[Chunk]:
        """See `SourceFile.chunks`.

        Raises:
          UserError: pyarrow is not installed.
        """
        pyarrow = import_pyarrow(self.name)
        wanted, number, row = range(first, sys.maxsize, step), 0, 1
        try:
            for column in self._columns():
                rows = self._rows_of_a_chunk(column)
                for begin in range(0, len(column), rows):
                    if number in wanted:
                        values = column_values(column[begin : begin + rows])
                        yield self._chunk(number).with_values(
                            values, row + begin, self.max_record_bytes
                        )
                    number += 1
                row += len(column)
        except (OSError, pyarrow.ArrowException) as error:
            telling = telling_chunk(number, first, step, is_passing(error))
            if telling is not None:
                yield self._chunk(
                    telling,
                    f"{self.name}: cannot be read as Arrow behind record {row - 1}: {error}",
                )
        except UserError as error:
            telling = telling_chunk(number, first, step)
            if telling is not None:
                yield self._chunk(telling, str(error))

    def _columns(self) -> Iterator["pyarrow.Array"]:
        """The column of each record batch."""
        pyarrow = import_pyarrow(self.name)
        # Not memory-mapped: the pages would count as memory of this process.
        with pyarrow.OSFile(str(self.path)) as stored:
            is_file = stored.read(len(_FILE_MAGIC)) == _FILE_MAGIC
            stored.seek(0)
            open_ipc = pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream
            schema = open_ipc(stored).schema
            require_text(schema, self.field, self.name)
            stored.seek(0)
            options = pyarrow.ipc.IpcReadOptions(
                use_threads=False, included_fields=[schema.get_field_index(self.field)]
            )
            batches = open_ipc(stored, options=options)
            if is_file:
                batches = map(batches.get_batch, range(batches.num_record_batches))
            for batch in batches:
                yield batch.column(0)

    def _rows_of_a_chunk(self, column: "pyarrow.Array") -> int:
        return max(1, self.chunk_bytes * len(column) // max(column.nbytes, 1))

    def _chunk(self, number: int, *errors: str) -> ValueChunk:
        return ValueChunk(
            file=self.name, number=number, errors=errors, content="text", field=self.field
        )
