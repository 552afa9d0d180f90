"""A split of prepared text, with the interface of one in memory."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.prepared.manifest import Manifest
from mmrec_jax.data.prepared.shard_tokens import Shard, ShardTokens
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError

Folders = Sequence[tuple[Path, Manifest]]


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedStore(TokenStore):
    """A `TokenStore` whose tokens stay on disk until they are read.

    The borders of the documents are in memory, 24 bytes a document.

    Attributes:
      shard_hashes: the sha256 of each file, by the manifest.
    """

    shard_hashes: tuple[str, ...] = ()

    @classmethod
    def open(cls, folders: Folders, split: str) -> "PreparedStore":
        """The documents of a split ("train" or "validation") of folders, end to end.

        Raises:
          UserError: a file is missing or not of its size, or the borders are damaged. (The tokens
            are checked when they are read.)
        """
        listed = [
            (folder, manifest.dtype, entry)
            for folder, manifest in folders
            for entry in manifest.shards[split]
        ]
        shards = [
            Shard(folder / entry["tokens_file"], entry, dtype) for folder, dtype, entry in listed
        ]
        documents = np.concatenate([_read_documents(folder, entry) for folder, _, entry in listed])
        return cls(
            tokens=cast("NDArray[np.int32]", ShardTokens(shards)),
            offsets=np.concatenate([[0], np.cumsum(documents[:, 0])]).astype(np.int64),
            byte_counts=np.ascontiguousarray(documents[:, 1]),
            character_counts=np.ascontiguousarray(documents[:, 2]),
            name=str(folders[0][0]),
            shard_hashes=tuple(
                entry[name] for _, _, entry in listed for name in ("sha256", "documents_sha256")
            ),
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of the hashes of the shards."""
        return hashlib.sha256(" ".join(self.shard_hashes).encode()).hexdigest()


def _read_documents(folder: Path, entry: dict[str, Any]) -> NDArray[np.int64]:
    path = folder / entry["documents_file"]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: this file cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != entry["documents_sha256"]:
        raise UserError(f"{path}: this file is damaged: copy or prepare it again")
    count = entry["documents"]
    return np.frombuffer(data[len(data) - 24 * count :], "<i8").reshape(count, 3)
