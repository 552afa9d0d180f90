"""The tokens of shards as one long array, read from disk and checked where it is touched."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.prepared.shard_writer import BLOCK_BYTES
from mmrec_jax.errors import UserError


class Shard:
    """The tokens of one file, mapped into memory.

    A block of 256 KiB is compared with its checksum when it is first read.
    """

    def __init__(self, path: Path, entry: dict[str, Any], dtype: str) -> None:
        """Maps a shard.

        Args:
          path: the file.
          entry: its entry in the manifest.
          dtype: of the tokens.

        Raises:
          UserError: it is missing, or not of its size.
        """
        self._path = path
        try:
            size = path.stat().st_size
            if size != entry["bytes"]:
                raise UserError(
                    f"{path}: this shard has {size:,} bytes; by its manifest it has "
                    f"{entry['bytes']:,}: copy or prepare it again"
                )
            self._tokens = np.memmap(path, dtype, mode="r")
        except OSError as error:
            raise UserError(f"{path}: this shard cannot be read: {error.strerror}") from None
        self._bytes = self._tokens.view(np.uint8)
        self._checksums = np.frombuffer(bytes.fromhex(entry["crc32"]), ">u4").tolist()
        self._checked = np.zeros(len(self._checksums), np.bool_)
        self._per_block = BLOCK_BYTES // self._tokens.itemsize

    def __len__(self) -> int:
        return len(self._tokens)

    def read(self, start: int, stop: int) -> NDArray[np.int32]:
        """Tokens [start, stop).

        Raises:
          UserError: a block that is read for the first time is damaged.
        """
        self._check(np.arange(start // self._per_block, -(-stop // self._per_block)))
        return self._tokens[start:stop].astype(np.int32)

    def gather(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        """The tokens at some places [n].

        Raises:
          UserError: as `read`.
        """
        self._check(np.unique(places // self._per_block))
        return self._tokens[places].astype(np.int32)

    def _check(self, blocks: NDArray[np.int64]) -> None:
        for block in blocks[~self._checked[blocks]].tolist():
            start = block * BLOCK_BYTES
            data = self._bytes[start : start + BLOCK_BYTES]
            if zlib.crc32(data.data) != self._checksums[block]:
                raise UserError(
                    f"{self._path}: this shard is damaged between the bytes {start:,} and "
                    f"{start + len(data):,} (their checksum differs): copy or prepare it again"
                )
            self._checked[block] = True


class ShardTokens:
    """Several shards end to end: what a run needs of an int32 array [number of tokens]."""

    def __init__(self, shards: list[Shard]) -> None:
        self._shards = shards
        self._begins = np.concatenate([[0], np.cumsum([len(shard) for shard in shards])])

    def __len__(self) -> int:
        return int(self._begins[-1])

    def __getitem__(self, places: slice | NDArray[np.int64]) -> NDArray[np.int32]:
        """The tokens of a slice of step 1, or at places [...] that are not negative.

        Raises:
          UserError: a part of a shard that is read for the first time is damaged.
        """
        if isinstance(places, slice):
            start, stop, step = places.indices(len(self))
            if step != 1:
                raise ValueError("tokens are read in slices of step 1")
            return self._read(start, stop)
        places = np.asarray(places)
        if places.size and not 0 <= places.min() <= places.max() < len(self):
            raise IndexError(f"places must be in 0 .. {len(self) - 1}")
        flat = places.ravel()
        found = np.empty(len(flat), np.int32)
        owners = np.searchsorted(self._begins, flat, side="right") - 1
        for owner in np.unique(owners):
            own = owners == owner
            found[own] = self._shards[owner].gather(flat[own] - self._begins[owner])
        return found.reshape(places.shape)

    def _read(self, start: int, stop: int) -> NDArray[np.int32]:
        parts = []
        first = int(np.searchsorted(self._begins, start, side="right")) - 1
        for owner in range(first, len(self._shards)):
            begin, end = int(self._begins[owner]), int(self._begins[owner + 1])
            if begin >= stop:
                break
            parts.append(
                self._shards[owner].read(max(start, begin) - begin, min(stop, end) - begin)
            )
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.zeros(0, np.int32), *parts])
