"""The files of one shard, written from begin to end."""

import hashlib
import io
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.atomic_file import replace_file

BLOCK_BYTES = 1 << 18  # of tokens have a checksum of their own


class ShardWriter:
    """Writes `NAME.tokens` and `NAME.documents.npy`.

    Until `close` the tokens stand in `NAME.tokens.part`; a shard to which nothing was added leaves
    no file.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Begins `name` ("train-00000") in `folder`."""
        self._tokens_path = folder / f"{name}.tokens"
        self._documents_path = folder / f"{name}.documents.npy"
        self._part = folder / f"{name}.tokens.part"
        self._file: BinaryIO | None = None
        self._sha256 = hashlib.sha256()
        self._checksums: list[int] = []
        self._block = b""  # the bytes of a block that is not full yet
        self._documents: list[NDArray[np.int64]] = []
        self.num_bytes = 0
        self.num_documents = 0

    def add(self, tokens: NDArray[Any], documents: NDArray[np.int64]) -> None:
        """Appends documents [n, 3] (`EncodedChunk.documents`) and their tokens.

        Raises:
          OSError: they cannot be written.
        """
        if not len(documents):
            return
        if self._file is None:
            self._file = self._part.open("wb")
        data = tokens.tobytes()
        self._file.write(data)
        self._sha256.update(data)
        self._documents.append(documents)
        self.num_bytes += len(data)
        self.num_documents += len(documents)
        data = self._block + data
        full = len(data) // BLOCK_BYTES * BLOCK_BYTES
        for start in range(0, full, BLOCK_BYTES):
            self._checksums.append(zlib.crc32(data[start : start + BLOCK_BYTES]))
        self._block = data[full:]

    def close(self) -> dict[str, Any] | None:
        """Completes the files; their entry in the manifest, or None where there are none.

        Raises:
          OSError: they cannot be written.
        """
        if self._file is None:
            return None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._block:
            self._checksums.append(zlib.crc32(self._block))
        stream = io.BytesIO()
        np.save(stream, np.concatenate(self._documents).astype("<i8"))
        replace_file(self._documents_path, stream.getvalue())
        os.replace(self._part, self._tokens_path)
        return {
            "tokens_file": self._tokens_path.name,
            "bytes": self.num_bytes,
            "sha256": self._sha256.hexdigest(),
            "crc32": np.array(self._checksums, ">u4").tobytes().hex(),
            "documents_file": self._documents_path.name,
            "documents": self.num_documents,
            "documents_sha256": hashlib.sha256(stream.getbuffer()).hexdigest(),
        }

    def discard(self) -> None:
        """Leaves nothing behind of a shard that is not complete."""
        if self._file is not None:
            try:
                self._file.close()  # writes what is buffered, for which there may be no room
            finally:
                self._part.unlink(missing_ok=True)
