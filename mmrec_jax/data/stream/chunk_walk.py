"""The chunks of one source that one shard reads, epoch after epoch."""

from collections.abc import Iterator

import numpy as np

from mmrec_jax.data.formats.chunk import CHUNK_BYTES, Chunk, Refuse
from mmrec_jax.data.formats.source import Source
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.stream.layout import first_chunk
from mmrec_jax.errors import UserError


class ChunkWalk:
    """Walks through the files of a source, in another order each epoch.

    Attributes:
      epoch: from 0.
      place: of the file that is being read, in the order of the epoch.
      number: of the first chunk in it that was not read yet.
    """

    def __init__(self, source: Source, shard: int, shards: int, seed: int, refuse: Refuse) -> None:
        """Begins with the first epoch.

        Args:
          source: the files.
          shard: v, from 0.
          shards: V.
          seed: of the orders.
          refuse: is handed a file that cannot be read at all.
        """
        self._source = source
        self._shard, self._shards = shard, shards
        self._seed = seed
        self._refuse = refuse
        self.go_to(0, 0, 0)

    def go_to(self, epoch: int, place: int, number: int) -> None:
        """Goes on from there."""
        rng = np.random.default_rng(hashed_seed("files", self._seed, epoch))
        self._order = rng.permutation(len(self._source.files))
        self.epoch, self.place, self.number = epoch, place, number
        self._chunks: Iterator[Chunk] | None = None

    def next_chunk(self) -> tuple[int, Chunk] | None:
        """The next chunk and the number of its file in the source; None once an epoch is over."""
        while self.place < len(self._order):
            file = int(self._order[self.place])
            try:
                if self._chunks is None:
                    first = first_chunk(self._shard, self._shards, file, self.epoch)
                    start = max(first, self.number)
                    self._chunks = self._source.files[file].chunks(start, self._shards)
                chunk = next(self._chunks, None)
            except UserError as error:
                self._refuse(error)
                chunk = None
            if chunk is not None:
                self.number = chunk.number + self._shards
                return file, chunk
            self._chunks = None
            self.place, self.number = self.place + 1, 0
        self.go_to(self.epoch + 1, 0, 0)
        return None

    @property
    def epochs(self) -> float:
        """About how many times the source was read, as the sizes of its files tell."""
        if self.place == len(self._order):
            return self.epoch + 1.0
        size = self._source.files[int(self._order[self.place])].size
        share = min(1.0, self.number * CHUNK_BYTES / max(1, size))
        return self.epoch + (self.place + share) / len(self._order)
