"""The files that a user names, and what their names say of them."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from mmrec_jax.data.files.compression import bare_name
from mmrec_jax.errors import UserError

Kind = Literal["text", "json_lines", "json", "csv", "parquet", "arrow"]

_KINDS: dict[str, Kind] = {
    **dict.fromkeys((".txt", ".md"), "text"),
    **dict.fromkeys((".jsonl", ".ndjson"), "json_lines"),
    ".json": "json",
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    ".parquet": "parquet",
    **dict.fromkeys((".arrow", ".feather", ".ipc"), "arrow"),
}
_ABOUT_A_DATA_SET = ("dataset_info.json", "features.json", "state.json", "dataset_dict.json")


def file_kind(path: Path) -> Kind:
    """What a file is by its name, a compression's suffix left aside: "text" if nothing else."""
    return _KINDS.get(Path(bare_name(path)).suffix, "text")


def split_pattern(pattern: str, option: str) -> list[str]:
    """The comma-separated parts of what a user wrote; a comma in the name of a file parts nothing.

    Raises:
      UserError: there is none.
    """
    words, parts = pattern.split(","), list[str]()
    while words:
        longest = range(len(words), 1, -1)
        joined = next((n for n in longest if _names_something(",".join(words[:n]))), 1)
        parts.append(_without_spaces(",".join(words[:joined])))
        del words[:joined]
    parts = [part for part in parts if part]
    if not parts:
        raise UserError(f"{option} is {pattern!r}; it must name at least one file")
    return parts


def find_files(pattern: str, option: str) -> list[Path]:
    """The files that comma-separated paths, globs and folders name.

    A path that exists is no glob; `**` and `~` are understood. Each real file is found once,
    whatever names lead to it. Errors name `option`, the config field or option.

    Raises:
      UserError: a path does not exist, or a glob or folder has no file.
    """
    parts = split_pattern(pattern, option)
    return unique_files(path for part in parts for path in matching_files(part, option))


def matching_files(part: str, option: str) -> list[Path]:
    """The files that one path, glob or folder names, sorted.

    Of a folder those with a known suffix, at any depth and behind links; a name that begins with a
    dot is passed over. Raises as `find_files`.
    """
    # `os.path` has an answer for names that no file can have too.
    path = in_home(part)
    if os.path.isdir(path):
        found = (Path(folder, name) for folder, names in _folders(str(path)) for name in names)
        known = [each for each in found if _is_data(each)]
        if not known:
            raise UserError(
                f"{option}: the folder {part} has no file of a known kind ({', '.join(_KINDS)}; "
                f'compressed or not); name its files, for example "{part.rstrip("/")}/*"'
            )
        return unique_files(sorted(known))
    if os.path.isfile(path):
        return [path]
    if not glob.has_magic(part):
        raise UserError(f"{option}: there is no file {part}")
    files = unique_files(Path(name) for name in sorted(_expand(str(path))) if os.path.isfile(name))
    if not files:
        raise UserError(f"{option}: no file matches {part}")
    return files


def in_home(part: str) -> Path:
    """The path with the home for its `~`, which stands for itself where nobody has that home."""
    return Path(os.path.expanduser(part))


def unique_files(paths: Iterable[Path]) -> list[Path]:
    """The paths, without those of files that an earlier one names."""
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        found.setdefault(file_identity(path), path)
    return list(found.values())


def file_identity(path: str | Path) -> tuple[int, int]:
    """What is the same for all names of a file or folder."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def require_outside(folder: Path, option: str, pattern: str, pattern_option: str) -> None:
    """Refuses to write into a folder that is read: with the next command it would be other data.

    Raises:
      UserError: `folder` (of `option`) is one of the folders that `pattern` names, or in one.
    """
    written = folder.expanduser().resolve()
    for part in split_pattern(pattern, pattern_option):
        read = in_home(part)
        if not (read.is_dir() and written.is_relative_to(read.resolve())):
            continue
        if not any(name.startswith(".") for name in written.relative_to(read.resolve()).parts):
            raise UserError(
                f"{option} {folder} lies in the folder {part} of {pattern_option}, where what is "
                "written would be read as data; name another, or the files instead of the folder"
            )


def cache_folder(kind: str) -> Path:
    """The user's own cache of one kind: never in a run folder, which may be copied."""
    caches = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    base = Path(caches) if Path(caches).is_absolute() else Path.home() / ".cache"
    return base / "mmrec_jax" / kind


def _names_something(part: str) -> bool:
    name = os.path.expanduser(_without_spaces(part))
    return os.path.exists(name) or ("**" not in name and bool(glob.glob(name)))


def _without_spaces(part: str) -> str:
    """The part as it is where a file is called so, else without the spaces around it."""
    return part if os.path.exists(os.path.expanduser(part)) else part.strip()


def _expand(pattern: str) -> list[str]:
    """What a glob matches; `**/` stands for folders at any depth, each once."""
    if pattern.endswith("/**") or pattern == "**":
        pattern += "/*"
    head, recursive, tail = pattern.partition("**/")
    if not recursive:
        return glob.glob(pattern)
    roots = glob.glob(head) if head else ["."]
    folders = [folder for root in roots for folder, _ in _folders(root)]
    return [name for each in folders for name in _expand(f"{glob.escape(each)}/{tail}")]


def _folders(root: str) -> Iterator[tuple[str, list[str]]]:
    """A folder and those in it, links too, each once, with the names of their files."""
    seen = set[tuple[int, int]]()
    for folder, names, files in os.walk(root, followlinks=True):
        if file_identity(folder) in seen:
            names.clear()
            continue
        seen.add(file_identity(folder))
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield folder, [name for name in files if not name.startswith(".")]


def _is_data(path: Path) -> bool:
    """Whether a file in a folder is one of data: of a known kind, and not about a data set."""
    known = Path(bare_name(path)).suffix in _KINDS
    return known and path.name not in _ABOUT_A_DATA_SET and path.is_file()
