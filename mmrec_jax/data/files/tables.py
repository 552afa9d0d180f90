"""Rows of Parquet, Arrow and Feather files."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrec_jax.data.files.compression import is_compressed
from mmrec_jax.data.files.records import FIELD_OPTION, no_field
from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    import pyarrow

_BATCH_BYTES = 1 << 22  # decoded at once, about
_MOST_ROWS = 1024
# A column that grows more than this when it is decoded is no text that anybody wrote.
_LARGEST_RATIO = 1000


def table_rows(
    path: Path, kind: str, field: str | None, limit: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """("file, row n", values by their columns) of each row; nulls are None.

    Args:
      path: a file of Parquet, or of Arrow's file or stream format.
      kind: "parquet" or "arrow".
      field: the only column that is read ("meta.text": a field inside one); None: all.
      limit: bytes of the longest record, which bounds what is decoded.

    Raises:
      UserError: the package is not installed; the file cannot be read or is damaged, or there is
        no such column.
    """
    try:
        import pyarrow
    except ImportError:
        raise UserError(
            f"{path}: this file is read with pyarrow, which is not installed: "
            "pip install 'mmrec_jax[files]'"
        ) from None
    if is_compressed(path):
        raise UserError(f"{path}: this kind of file is compressed inside: unpack it once")
    number = 0
    try:
        batches = _parquet(path, field, limit) if kind == "parquet" else _arrow(path, field)
        for batch in batches:
            for row in _rows(batch):
                number += 1
                yield f"{path}, row {number}", row
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{path}: cannot be read behind row {number}: {reason}") from None


def _parquet(path: Path, field: str | None, limit: int) -> Iterator["pyarrow.RecordBatch"]:
    from pyarrow import parquet

    stored = path.stat().st_size
    with parquet.ParquetFile(path, memory_map=True) as file:
        columns = [_column(field, file.schema_arrow, path)] if field else None
        leaves = map(file.schema.column, range(len(file.schema.names)))
        shared = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        for number in range(file.num_row_groups):
            # Of a damaged file, what is known of single columns ends the process when it is read.
            group = file.metadata.row_group(number)
            if group.total_byte_size > max(limit, _LARGEST_RATIO * stored):
                raise UserError(
                    f"{path}: a file of {stored:,} bytes with a row group of "
                    f"{group.total_byte_size:,}: a decompression bomb; leave it out"
                )
            longest = group.total_byte_size // max(1, group.num_rows)
            # What rows share is stored once, and decoded for each of them.
            with parquet.ParquetFile(path, memory_map=True, read_dictionary=shared) as reader:
                for batch in reader.iter_batches(1, [number], columns, use_threads=False):
                    longest = max(longest, *map(_longest_shared, batch.columns))
                    break
            rows = max(1, min(_MOST_ROWS, _BATCH_BYTES // max(1, longest)))
            yield from file.iter_batches(rows, [number], columns, use_threads=False)


def _arrow(path: Path, field: str | None) -> Iterator["pyarrow.RecordBatch"]:
    import pyarrow

    with pyarrow.memory_map(str(path)) as source:
        schema = _open_arrow(source, None).schema
        columns = [schema.names.index(_column(field, schema, path))] if field else []
        file = _open_arrow(source, pyarrow.ipc.IpcReadOptions(included_fields=columns))
        count = getattr(file, "num_record_batches", None)
        for batch in file if count is None else map(file.get_batch, range(count)):
            batch.validate(full=True)  # offsets that lead outside would be followed
            yield batch


def _open_arrow(source: Any, options: Any) -> Any:
    import pyarrow

    source.seek(0)
    try:
        return pyarrow.ipc.open_file(source, options=options)
    except pyarrow.ArrowInvalid:
        source.seek(0)
        return pyarrow.ipc.open_stream(source, options=options)


def _column(field: str, schema: "pyarrow.Schema", path: Path) -> str:
    """The column that is the field, or has it inside."""
    for name in (field, field.partition(".")[0]):
        if name in schema.names:
            return name
    raise no_field(field, schema.names, str(path), FIELD_OPTION)


def _rows(batch: "pyarrow.RecordBatch") -> Iterator[dict[str, Any]]:
    longest = max(1, *map(_longest_shared, batch.columns))
    step = max(1, min(_MOST_ROWS, _BATCH_BYTES // longest))
    for begin in range(0, batch.num_rows, step):
        yield from batch.slice(begin, step).to_pylist()


def _longest_shared(array: "pyarrow.Array") -> int:
    """Bytes of the longest value that rows of a column share."""
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        return compute.max(compute.binary_length(array.dictionary)).as_py() or 0
    if types.is_struct(array.type):
        return max([0, *map(_longest_shared, array.flatten())])
    return 0
