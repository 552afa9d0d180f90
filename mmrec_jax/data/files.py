"""Documents from the user's own files: plain text or JSON lines, `.gz` or not."""

import glob
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError

Cut = Literal["block", "line", "file"]

_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
# Two or more line ends with nothing but blanks between them.
_BLANK_LINES = re.compile(r"\r?\n(?:[ \t\f\v]*\r?\n)+")


def find_files(pattern: str, field: str) -> list[Path]:
    """The files that comma-separated paths or globs name; each once, globs sorted.

    Args:
      pattern: for example "books/*.txt, notes.txt.gz"; `**` and `~` are understood.
      field: the name of the config field or option, for error messages.

    Raises:
      UserError: a path does not exist or is a folder, or a glob matches nothing.
    """
    paths: dict[Path, None] = {}
    parts = [part.strip() for part in pattern.split(",") if part.strip()]
    if not parts:
        raise UserError(f"{field} is {pattern!r}; it must name at least one file")
    for part in parts:
        path = Path(part).expanduser()
        if path.is_dir():
            raise UserError(
                f'{field}: {part} is a folder; name its files, for example "{part.rstrip("/")}/*"'
            )
        if path.is_file():
            paths[path] = None
            continue
        if not glob.has_magic(part):
            raise UserError(f"{field}: there is no file {part}")
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
        matches = sorted(name for name in found if name.is_file())
        if not matches:
            raise UserError(f"{field}: no file matches {part}")
        paths.update(dict.fromkeys(matches))
    return list(paths)


def is_json_lines(path: Path) -> bool:
    """Whether the name says so: `.jsonl`, `.json` or `.ndjson`, perhaps followed by `.gz`."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith(_JSON_SUFFIXES)


def text_documents(path: Path, cut: Cut) -> list[Document]:
    """The documents of one text file; blank ones are left out.

    `cut` "file" keeps the text as it is; "line" and "block" drop the line ends around each
    document. Only a newline (with or without a carriage return) ends a line.

    Raises:
      UserError: the file cannot be read, is a damaged .gz, or is not UTF-8.
    """
    text = _decode(path, _read_bytes(path))
    pieces: Iterator[tuple[int, str]]
    if cut == "file":
        return [Document(str(path), text)] if text.strip() else []
    if cut == "line":
        pieces = (
            (number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), 1)
        )
    else:
        pieces = _blocks(text)
    return [Document(f"{path}:{number}", piece) for number, piece in pieces if piece.strip()]


def json_documents(path: Path, field: str) -> list[Document]:
    """One document per line of JSON, its text in `field`; blank lines and blank texts are skipped.

    Raises:
      UserError: as `json_records` and `string_field`.
    """
    texts = (
        (place, string_field(record, field, place, "config.data.field"))
        for place, record in json_records(path)
    )
    return [Document(place, text) for place, text in texts if text.strip()]


def json_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place ("file:line") and the object of each line of JSON; blank lines are skipped.

    Raises:
      UserError: the file cannot be read, is a damaged .gz or not UTF-8; a line is not a JSON
        object.
    """
    text = _decode(path, _read_bytes(path))
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            place = f"{path}:{number}"
            yield place, json_record(line, place)


def json_record(line: str, place: str) -> dict[str, Any]:
    """The object in a line of JSON that stands at `place` ("file:line").

    Raises:
      UserError: the line is not a JSON object.
    """
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: bad JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise UserError(f"{place}: bad JSON: nested too deeply") from None
    if not isinstance(record, dict):
        raise UserError(f"{place}: this line is a {json_type(record)}, not a JSON object")
    return record


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
    if field not in record:
        names = ", ".join(sorted(record)) or "none"
        hint = f" ({option})" if option else ""
        raise UserError(f"{place}: there is no field {field!r}; the fields are: {names}{hint}")
    value = record[field]
    if not isinstance(value, str):
        raise UserError(f"{place}: field {field!r} is a {json_type(value)}, not a string")
    if re.search("[\ud800-\udfff]", value):
        raise UserError(f"{place}: field {field!r} holds half a surrogate pair")
    return value


def json_type(value: object) -> str:
    """What JSON calls the type of a value."""
    names = {type(None): "null", bool: "boolean", str: "string", list: "list", dict: "object"}
    return names.get(type(value), "number")


def _blocks(text: str) -> Iterator[tuple[int, str]]:
    """(line number, text) of each run of lines between blank lines."""
    start, line = 0, 1
    for separator in [*_BLANK_LINES.finditer(text), None]:
        block = text[start : separator.start() if separator else len(text)]
        body = block.lstrip("\r\n")
        yield line + block[: len(block) - len(body)].count("\n"), body.rstrip("\r\n")
        if separator:
            line += block.count("\n") + separator[0].count("\n")
            start = separator.end()


def _read_bytes(path: Path) -> bytes:
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rb") as stream:
                return stream.read()
        return path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: this .gz file is damaged: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None


def _decode(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        where = "byte" if path.suffix.lower() != ".gz" else "uncompressed byte"
        raise UserError(
            f"{path}: not UTF-8 at {where} offset {error.start} (0x{data[error.start]:02x}); "
            "convert the file to UTF-8"
        ) from None
