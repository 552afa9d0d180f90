"""A manifest of a checkpoint's files: size and SHA-256 of each, so that no damage is read on.

`checksums.json` is in the folder of a step and maps the path of every file of its items, relative
to that folder, to `[bytes, sha256 (hex)]`.
"""

import hashlib
import json
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object

FILE_NAME = "checksums.json"
_THREADS = 8  # hashing releases the lock of the interpreter


def write_checksums(folder: Path) -> None:
    """Hashes every file in the folders of `folder` and writes the manifest beside them."""
    files = sorted(path for path in folder.glob("*/**/*") if path.is_file())
    with ThreadPoolExecutor(_THREADS) as pool:
        manifest = {
            path.relative_to(folder).as_posix(): [path.stat().st_size, sha256]
            for path, sha256 in zip(files, pool.map(file_sha256, files), strict=True)
        }
    replace_file(folder / FILE_NAME, json.dumps(manifest, indent=1).encode())


def find_wrong_size(folder: Path) -> str:
    """What is missing or cut off in a folder with a manifest, in words; empty if nothing is."""
    try:
        manifest = _read(folder)
    except UserError as error:
        return str(error)
    for name, (size, _) in manifest.items():
        try:
            found = (folder / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if found != size:
            return f"{name} has {found:,} bytes instead of {size:,}"
    return ""


def find_damage(folder: Path, items: Collection[str] | None = None) -> str:
    """As `find_wrong_size`, and the bytes of the given items, or of all, are compared."""
    if wrong := find_wrong_size(folder):
        return wrong
    manifest = _read(folder)
    names = [name for name in manifest if items is None or name.partition("/")[0] in items]
    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            hashes = pool.map(lambda name: file_sha256(folder / name), names)
            for name, sha256 in zip(names, hashes, strict=True):
                if sha256 != manifest[name][1]:
                    return f"{name} is damaged: its bytes are not those that were written"
    except OSError as error:
        return f"{error.filename} cannot be read: {error.strerror}"
    return ""


def _read(folder: Path) -> dict[str, tuple[int, str]]:
    manifest = read_json_object(folder / FILE_NAME, FILE_NAME)
    for entry in manifest.values():
        if not isinstance(entry, list) or list(map(type, entry)) != [int, str]:
            raise UserError(f"{FILE_NAME} is damaged")
    return manifest


def file_sha256(path: Path) -> str:
    """The hash (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
