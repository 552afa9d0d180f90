"""The files that a user names."""

import glob
from pathlib import Path

from mmrec_jax.data.formats.compression import COMPRESSED
from mmrec_jax.errors import UserError

JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
# Files of a folder with other names are no data.
_KNOWN = (".txt", *JSON_SUFFIXES)


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
        inside = (each for each in path.rglob("*") if each.is_file() and is_known(each.name))
        found = sorted(each for each in inside if not _hidden(each.relative_to(path)))
        if not found:
            raise UserError(
                f"{option}: the folder {part} has no file of a known kind ({', '.join(_KNOWN)}; "
                f'compressed or not); name its files, for example "{part.rstrip("/")}/*"'
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


def bare_name(name: str) -> str:
    """The name in small letters, without the suffix of a compression."""
    name = name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return name


def is_json(path: Path) -> bool:
    """Whether the name says so: `.jsonl`, `.json` or `.ndjson`, perhaps compressed."""
    return bare_name(path.name).endswith(JSON_SUFFIXES)


def is_known(name: str) -> bool:
    """Whether a folder's file is taken for data."""
    return bare_name(name).endswith(_KNOWN)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
