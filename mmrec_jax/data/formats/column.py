"""The column of a table that holds the text (Parquet, Arrow)."""

from typing import TYPE_CHECKING, Any

from mmrec_jax.data.formats.json_record import FIELD_OPTION, no_field
from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    import pyarrow


def import_pyarrow(name: str) -> Any:
    """The package, which only the extra brings.

    Raises:
      UserError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"{name}: this file is read with pyarrow, which is not installed: "
            "pip install 'mmrec_jax[parquet]'"
        ) from None
    return pyarrow


def is_passing(error: Exception) -> bool:
    """Whether the system failed, and not what the file holds: Arrow raises OSError for both."""
    return isinstance(error, OSError) and error.errno is not None


def require_text(schema: "pyarrow.Schema", field: str, file: str) -> None:
    """Refuses a table without the field, or with another type in it.

    Raises:
      UserError: names the file, and the columns or the type.
    """
    pyarrow = import_pyarrow(file)
    if schema.names.count(field) != 1:
        raise UserError(no_field(field, schema.names, file, FIELD_OPTION))
    kind = schema.field(field).type
    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type
    texts = (pyarrow.string(), pyarrow.large_string(), pyarrow.string_view(), pyarrow.binary())
    if kind not in texts:
        raise UserError(f"{file}: field {field!r} is of type {kind}, not a string")


def column_values(column: "pyarrow.Array") -> list[bytes | None]:
    """The values in bytes, None where there is none."""
    pyarrow = import_pyarrow("")
    values: list[bytes | None] = column.cast(pyarrow.large_binary()).to_pylist()
    return values
