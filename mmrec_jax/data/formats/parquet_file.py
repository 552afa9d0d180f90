"""Rows of a Parquet file."""

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
    import pyarrow.parquet

# A column that repeats itself is stored in few bytes, which then say nothing of a row's length.
_MOST_ROWS = 1024
_BUFFER = 1 << 20  # bytes of a column read at once


class ParquetFile(FieldFile):
    """A Parquet file as chunks of equally many rows, about `chunk_bytes` of the column together.

    The chunks of a row group are decoded one after the other; row groups without a wanted chunk
    are not read.
    """

    def chunks(self, first: int = 0, step: int = 1) -> Iterator[Chunk]:
        """See `SourceFile.chunks`.

        Raises:
          UserError: pyarrow is not installed.
        """
        pyarrow = import_pyarrow(self.name)
        wanted = range(first, sys.maxsize, step)
        try:
            # Without buffer_size the column of a whole row group would be held.
            file = pyarrow.parquet.ParquetFile(
                self.path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
            )
            with file:
                require_text(file.schema_arrow, self.field, self.name)
                yield from self._groups(file, wanted)
        except (OSError, pyarrow.ArrowException) as error:
            telling = telling_chunk(0, first, step, is_passing(error))
            if telling is not None:
                yield self._chunk(telling, f"{self.name}: cannot be read as Parquet: {error}")
        except UserError as error:
            telling = telling_chunk(0, first, step)
            if telling is not None:
                yield self._chunk(telling, str(error))

    def _groups(self, file: "pyarrow.parquet.ParquetFile", wanted: range) -> Iterator[Chunk]:
        pyarrow = import_pyarrow(self.name)
        rows = self._rows_of_a_chunk(file)
        begin, before = 0, 0  # chunks and rows of the groups before
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            end = begin + -(-count // rows)
            number = begin
            try:
                if any(each in wanted for each in range(begin, end)):
                    for column in self._columns(file, group, rows):
                        if number in wanted:
                            row = before + rows * (number - begin) + 1
                            values = column_values(column)
                            yield self._chunk(number).with_values(
                                values, row, self.max_record_bytes
                            )
                        number += 1
            except (OSError, pyarrow.ArrowException) as error:
                telling = telling_chunk(number, wanted.start, wanted.step, is_passing(error))
                if telling is not None and telling < end:
                    where = f"{self.name}: row group {group} cannot be read"
                    yield self._chunk(
                        telling, f"{where} behind row {rows * (number - begin)}: {error}"
                    )
            begin, before = end, before + count

    def _rows_of_a_chunk(self, file: "pyarrow.parquet.ParquetFile") -> int:
        metadata, size = file.metadata, 0
        for group in range(file.num_row_groups):
            columns = metadata.row_group(group)
            for index in range(columns.num_columns):
                if columns.column(index).path_in_schema.split(".")[0] == self.field:
                    size += columns.column(index).total_uncompressed_size
        return max(1, min(_MOST_ROWS, self.chunk_bytes * metadata.num_rows // max(size, 1)))

    def _columns(
        self, file: "pyarrow.parquet.ParquetFile", group: int, rows: int
    ) -> Iterator["pyarrow.Array"]:
        """The column in pieces of `rows` rows, the last one perhaps shorter."""
        batches = file.iter_batches(
            batch_size=rows, row_groups=[group], columns=[self.field], use_threads=False
        )
        for batch in batches:
            yield batch.column(0)

    def _chunk(self, number: int, *errors: str) -> ValueChunk:
        return ValueChunk(
            file=self.name, number=number, errors=errors, content="text", field=self.field
        )
