"""The files that a user names."""

import glob
import re
from pathlib import Path
from typing import Literal

from mmrec_jax.data.formats.compression import COMPRESSED
from mmrec_jax.errors import UserError

Kind = Literal["text", "json", "parquet", "arrow", "array_record"]

_JSON = (".jsonl", ".json", ".ndjson")
_TABLES: dict[str, Kind] = {".parquet": "parquet", ".arrow": "arrow"}
_ARRAY_RECORD = re.compile(r".*\.array_?record(-\d+-of-\d+)?", re.DOTALL)
_INFO_FILE = "dataset_info.json"  # of a TensorFlow or Hugging Face data set
_KNOWN = ".txt, .md, .jsonl, .json, .ndjson, .parquet, .arrow, .array_record"


def split_pattern(pattern: str, option: str) -> list[str]:
    """The comma-separated parts of what a user wrote.

    Raises:
      UserError: there is none.
    """
    parts = [part.strip() for part in pattern.split(",") if part.strip()]
    if not parts:
        raise UserError(f"{option} is {pattern!r}; it must name at least one file")
    return parts


def find_files(pattern: str, option: str) -> list[Path]:
    """The files that comma-separated paths, globs and folders name; each once.

    Args:
      pattern: for example "books/*.txt, notes.txt.gz"; `**` and `~` are understood.
      option: the name of the config field or option, for error messages.

    Raises:
      UserError: a path does not exist, or a glob or folder has no file.
    """
    parts = split_pattern(pattern, option)
    return list(dict.fromkeys(path for part in parts for path in matching_files(part, option)))


def matching_files(part: str, option: str) -> list[Path]:
    """The files that one path, glob or folder names, sorted.

    Of a folder those with a known suffix, at any depth; a name that begins with a dot is passed
    over.

    Raises:
      UserError: as `find_files`.
    """
    path = Path(part).expanduser()
    if path.is_dir():
        found = sorted(each for each in path.rglob("*") if _is_data(each, path))
        if not found:
            raise UserError(
                f"{option}: the folder {part} has no file of a known kind ({_KNOWN}; compressed or "
                f'not); name its files, for example "{part.rstrip("/")}/*"'
            )
        return found
    if path.is_file():
        return [path]
    if not glob.has_magic(part):
        raise UserError(f"{option}: there is no file {part}")
    names = (Path(name) for name in glob.glob(str(path), recursive=True))
    found = sorted(name for name in names if name.is_file())
    if not found:
        raise UserError(f"{option}: no file matches {part}")
    return found


def require_outside(folder: Path, option: str, pattern: str, pattern_option: str) -> None:
    """Refuses to write into a folder that is read: with the next command it would be other data.

    Raises:
      UserError: `folder` (of `option`) is one of the folders that `pattern` names, or in one.
    """
    place = folder.expanduser().resolve()
    for part in split_pattern(pattern, pattern_option):
        read = Path(part).expanduser()
        if not (read.is_dir() and place.is_relative_to(read.resolve())):
            continue
        if not any(name.startswith(".") for name in place.relative_to(read.resolve()).parts):
            raise UserError(
                f"{option} {folder} lies in the folder {part} of {pattern_option}, where what is "
                "written would be read as data; name another, or the files instead of the folder"
            )


def is_json_lines(path: Path) -> bool:
    """Whether the name says that each line is a JSON object."""
    return bare_name(path).endswith((".jsonl", ".ndjson"))


def file_kind(path: Path) -> Kind:
    """What a file is by its name, a compression's suffix left aside: "text" if nothing else."""
    return _known_kind(path) or "text"


def _known_kind(path: Path) -> Kind | None:
    name = path.name.lower()
    if _ARRAY_RECORD.fullmatch(name):
        return "array_record"
    kind = _TABLES.get(path.suffix.lower())
    if kind:
        return kind
    if bare_name(path).endswith(_JSON):
        return "json"
    return "text" if bare_name(path).endswith((".txt", ".md")) else None


def bare_name(path: Path) -> str:
    """The name in small letters, without the suffix of a compression."""
    name = path.name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name


def _is_data(path: Path, folder: Path) -> bool:
    """Whether something in a folder is a file of data: not hidden, nor about a data set."""
    if not _known_kind(path) or any(
        part.startswith(".") for part in path.relative_to(folder).parts
    ):
        return False
    about = path.suffix == ".json" and (path.parent / _INFO_FILE).is_file()
    return path.is_file() and not about
