"""The fields of a record."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mmrec_jax.data.files.text import without_marks
from mmrec_jax.errors import UserError

# What holds the name of the field that is read: of a run, and of the commands.
FIELD_OPTION = "config.data.field, or --field"
_LONGEST_INT = 4000  # digits that Python turns into a number without being asked to


def _whole_number(digits: str) -> int | float:
    """A number, roughly where it is so long that only an identifier can be meant."""
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


JSON_DECODER = json.JSONDecoder(parse_int=_whole_number)


def json_record(line: str, location: str) -> dict[str, Any]:
    """The object in a line of JSON that stands at `location` ("file:line").

    Raises:
      UserError: the line is not a JSON object.
    """
    try:
        record = JSON_DECODER.decode(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{location}: bad JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise UserError(f"{location}: bad JSON: nested too deeply") from None
    return require_object(record, location)


def require_object(record: Any, location: str) -> dict[str, Any]:
    """The value itself; a `UserError` where it is no JSON object."""
    if not isinstance(record, dict):
        raise UserError(f"{location}: here is a {json_type(record)}, not a JSON object")
    return record


def text_field(record: Mapping[str, Any], field: str, location: str) -> str:
    """The text in a field of a record; "meta.text" is also the field `text` of the field `meta`.

    A null is no text, and nothing wrong. Errors name `location`.

    Raises:
      UserError: the field is missing, is no text, or holds half a surrogate pair.
    """
    value = _value(record, field, location)
    return "" if value is None else as_text(value, f"{location}: field {field!r}")


def as_text(value: Any, where: str) -> str:
    """A value of a record as text, without byte-order marks; errors begin with `where`.

    Raises:
      UserError: it is no text, or holds half a surrogate pair.
    """
    try:
        text = value.decode("utf-8") if isinstance(value, bytes) else value
        if isinstance(text, str):
            text.encode("utf-8")  # which is faster than a search
            return without_marks(text)
    except UnicodeDecodeError:
        raise UserError(f"{where} is not UTF-8") from None
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half a surrogate pair") from None
    raise UserError(f"{where} is a {json_type(value)}, not a string")


def _value(record: Mapping[str, Any], field: str, location: str) -> Any:
    if field in record:
        return record[field]
    outer, dot, inner = field.partition(".")
    if dot and isinstance(record.get(outer), Mapping):
        return _value(record[outer], inner, location)
    raise no_field(field, record, location, FIELD_OPTION)


def no_field(field: str, fields: Iterable[str], location: str, option: str = "") -> UserError:
    """What is said where a record lacks a field."""
    names = ", ".join(sorted(map(str, fields))) or "none"
    hint = f" ({option})" if option else ""
    return UserError(f"{location}: there is no field {field!r}; the fields are: {names}{hint}")


def json_type(value: object) -> str:
    """What JSON calls the type of a value."""
    names = {type(None): "null", bool: "boolean", str: "string", list: "list", dict: "object"}
    number = "number" if isinstance(value, int | float) else type(value).__name__
    return names.get(type(value), number)  # tables hold what JSON lacks, such as times
