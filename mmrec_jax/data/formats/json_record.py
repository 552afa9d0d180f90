"""A JSON object and its fields."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError

# What holds the name of the field that is read: of a run, and of the commands.
FIELD_OPTION = "config.data.field, or --field"


def json_record(line: str, place: str) -> dict[str, Any]:
    """The object in a line of JSON that stands at `place` ("file:line").

    Raises:
      UserError: the line is not a JSON object.
    """
    try:
        record = json.loads(line, parse_int=_number)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: bad JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise UserError(f"{place}: bad JSON: nested too deeply") from None
    if not isinstance(record, dict):
        raise UserError(f"{place}: this line is a {json_type(record)}, not a JSON object")
    return record


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) < 4000 else float(digits)  # Python converts no longer ones


def string_field(record: Mapping[str, Any], field: str, place: str, option: str = "") -> str:
    """The text in a field of a JSON object.

    Args:
      record: the object.
      field: the name of the field.
      place: where the object stands, for error messages.
      option: the config field that holds `field`, if one does, for error messages.

    Raises:
      UserError: the field is missing, is not a string, or holds half a surrogate pair.
    """
    value = _any_string(record, field, place, option)
    try:
        value.encode("utf-8")  # which is faster than a search
    except UnicodeEncodeError:
        raise _half_pair(field, place) from None
    return value


def document_field(record: Mapping[str, Any], field: str, place: str, option: str = "") -> Document:
    """`string_field`, as the document of that place; its `utf8` is found out on the way."""
    document = Document(place, _any_string(record, field, place, option))
    try:
        _ = document.utf8
    except UnicodeEncodeError:
        raise _half_pair(field, place) from None
    return document


def _half_pair(field: str, place: str) -> UserError:
    return UserError(f"{place}: field {field!r} holds half a surrogate pair")


def _any_string(record: Mapping[str, Any], field: str, place: str, option: str) -> str:
    if field not in record:
        raise UserError(no_field(field, record, place, option))
    value = record[field]
    if not isinstance(value, str):
        raise UserError(f"{place}: field {field!r} is a {json_type(value)}, not a string")
    return value


def no_field(field: str, fields: Iterable[str], place: str, option: str = "") -> str:
    """What is said where a record lacks a field."""
    names = ", ".join(sorted(fields)) or "none"
    hint = f" ({option})" if option else ""
    return f"{place}: there is no field {field!r}; the fields are: {names}{hint}"


def json_type(value: object) -> str:
    """What JSON calls the type of a value."""
    names = {type(None): "null", bool: "boolean", str: "string", list: "list", dict: "object"}
    return names.get(type(value), "number")
