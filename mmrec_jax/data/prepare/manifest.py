"""What a folder of prepared text holds, and whose it is."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.data.prepare.settings import flag
from mmrec_jax.errors import UserError

MANIFEST = "manifest.json"  # written last
IDENTITY = "settings.json"  # written first
TOKENIZER = "tokenizer"  # the folder of the tokenizer
SPLITS = ("train", "validation")
# Of each split a folder with these files of little-endian numbers, as `TokenStore` has them.
ARRAYS = {"tokens": "<i4", "offsets": "<i8", "byte_counts": "<i8", "character_counts": "<i8"}
SHARES = "shares"  # a file beside them, int64: `text_share` of each document, times SHARE_UNIT
SHARE_UNIT = 2**62
_FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A complete preparation.

    Attributes:
      identity: what it was made from: the settings, "tokenizer" (its fingerprint), "sources" (of
        each its name and `Source.key`).
      splits: of each of `SPLITS` its "documents", "tokens", "bytes", "characters", of the bytes
        those that no token spells ("unspelled_bytes"), and the "sha256" of each file.
      counts: documents and characters by what became of them.
      languages: documents by language, where that was asked.
      examples: some documents that were left out, by the reason.
    """

    identity: dict[str, Any]
    splits: dict[str, dict[str, Any]]
    counts: dict[str, int]
    languages: dict[str, int]
    examples: dict[str, list[str]]

    def write(self, folder: Path) -> None:
        """Writes it, or raises a `UserError`."""
        record = {"format": _FORMAT, **dataclasses.asdict(self)}
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        replace_file(folder / MANIFEST, text.encode("utf-8", "surrogateescape"))


def read_manifest(folder: Path, option: str) -> Manifest:
    """The manifest of a folder; errors begin with `option` where the folder is the wrong one.

    Raises:
      UserError: there is none, because the preparation is not complete or the folder is another
        one's; or it is damaged or of another version.
    """
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        if (folder / IDENTITY).exists():
            raise UserError(
                f"{option}: the preparation of {folder} is not complete; give the same "
                '"mmrec data prepare" command again: it continues'
            ) from None
        raise UserError(
            f"{option}: {folder} is not a folder that mmrec data prepare wrote "
            f"({MANIFEST}: {error.strerror})"
        ) from None
    try:
        record = json.loads(data.decode("utf-8", "surrogateescape"))
        version = record.pop("format")
        record.pop("sha256", None)  # of the whole, which nobody needs, in those of before
        if version == _FORMAT:
            return Manifest(**record)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: this file is damaged") from None
    raise UserError(
        f"{path}: its format is {version} and this version reads {_FORMAT}; prepare the text "
        "again with mmrec data prepare"
    )


def require_identity(found: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    """Refuses to go on in a folder with something else than what it was begun with.

    Raises:
      UserError: names each option that differs.
    """
    changed = [name for name in wanted if found.get(name) != wanted[name]]
    if changed:
        listed = ", ".join(flag("source" if name == "sources" else name) for name in changed)
        raise UserError(
            f"--out {folder} was begun with another {listed} (see {IDENTITY} there); name a new "
            "folder, or begin anew with --fresh"
        )
