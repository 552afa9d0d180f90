"""`manifest.json`: what a folder of prepared text holds. It is written last."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError

MANIFEST = "manifest.json"
JOURNAL = "journal.json"  # stands in its place until the preparation is complete
TOKENIZER = "tokenizer"  # the folder of the tokenizer
FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A complete preparation.

    Attributes:
      dtype: of the tokens: "<u2" or "<u4".
      tokenizer: the fingerprint of the tokenizer.
      vocab_size: its ids.
      settings: `PrepareSettings.record`.
      sources: of each its name, identity, files and bytes.
      shards: of each split ("train", "validation") the entries that `ShardWriter.close` made.
      skipped: how many records could not be read, and the files that list them.
      tallies: `SourceTally.record` of each source.
    """

    dtype: str
    tokenizer: str
    vocab_size: int
    settings: dict[str, Any]
    sources: list[dict[str, Any]]
    shards: dict[str, list[dict[str, Any]]]
    skipped: dict[str, Any]
    tallies: list[dict[str, Any]]

    def write(self, folder: Path) -> None:
        """Writes it.

        Raises:
          OSError: it cannot be written.
        """
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        record = {"sha256": _checksum(content), **content}
        replace_file(folder / MANIFEST, (json.dumps(record, indent=1) + "\n").encode())

    @property
    def itemsize(self) -> int:
        """Bytes of a token."""
        return np.dtype(self.dtype).itemsize


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
        if (folder / JOURNAL).exists():
            raise UserError(
                f"{option}: the preparation of {folder} is not complete; give the same "
                '"mmrec data prepare" command again: it continues'
            ) from None
        raise UserError(
            f"{option}: {folder} is not a folder that mmrec data prepare wrote "
            f"({MANIFEST}: {error.strerror})"
        ) from None
    try:
        record = json.loads(data)
        checksum = record.pop("sha256")
        version = record.pop("format")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: this file is damaged") from None
    if version != FORMAT:
        raise UserError(f"{path}: its format is {version}; this version reads {FORMAT}")
    if checksum != _checksum({"format": version, **record}):
        raise UserError(f"{path}: this file is damaged: it does not have the checksum in it")
    return Manifest(**record)


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
