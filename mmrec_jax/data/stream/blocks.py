"""The documents of one source for one shard, shuffled a block at a time."""

import dataclasses
from array import array
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.chunk import Refuse
from mmrec_jax.data.formats.source import Source
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.stream.chunk_walk import ChunkWalk
from mmrec_jax.errors import UserError

Admit = Callable[[Document], Document | None]


class Locator(NamedTuple):
    """Where a document stands, so that it can be read again.

    Attributes:
      source: its number among those of the run.
      epoch: in which it was read.
      file: its number in the source.
      chunk: its number in the file.
      record: its number in the chunk, among all documents there.
    """

    source: int
    epoch: int
    file: int
    chunk: int
    record: int


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """How documents are put in order.

    Attributes:
      seed: of all permutations.
      shards: V.
      block: chunks that are shuffled together, at most.
      block_bytes: of their text, after which no other chunk is added: a chunk of one long document
        may be larger than others.
    """

    seed: int
    shards: int
    block: int
    block_bytes: int


class BlockReader:
    """Documents without end: each once an epoch, in an order that the arguments determine.

    Blocks of neighbouring chunks are read, and their documents permuted. The text of a block is
    one buffer of UTF-8, not an object a document: it costs what it weighs and leaves no holes, and
    the next block is written over it, so that the memory stays what it is.
    """

    def __init__(
        self,
        source: Source,
        number: int,
        shard: int,
        shuffle: Shuffle,
        admit: Admit,
        refuse: Refuse,
    ) -> None:
        """Begins with the first epoch.

        Args:
          source: the files.
          number: of the source among those of the run.
          shard: v, from 0.
          shuffle: see there.
          admit: cleans a document, or says that it is not trained on (None).
          refuse: is handed each record and file that cannot be read.
        """
        self._source, self._number = source, number
        self._shard, self._shuffle = shard, shuffle
        self._admit, self._refuse = admit, refuse
        seed = hashed_seed(shuffle.seed, number)
        self._walk = ChunkWalk(source, shard, shuffle.shards, seed, refuse)
        self._text = bytearray()
        self._begin_block()

    def take(self) -> tuple[Locator, bytes]:
        """The next document: where it stands, and its text in UTF-8.

        Raises:
          UserError: the source has no document to train on.
        """
        epochs = 0
        while self._taken == len(self._order):
            epochs += self._read_block()
            # All shards have had each chunk by then.
            if epochs > self._shuffle.shards + 1 and self._taken == len(self._order):
                raise no_document(self._source)
        place = int(self._order[self._taken])
        self._taken += 1
        start, end = self._ends[place], self._ends[place + 1]
        file, chunk, record = self._places[3 * place : 3 * place + 3]
        locator = Locator(self._number, self._start[0], file, chunk, record)
        text = bytes(memoryview(self._text)[start:end])
        if self._taken == len(self._order) and len(self._text) > 2 * self._shuffle.block_bytes:
            self._text.clear()  # of a long document, which a lane may read for hours
        return locator, text

    def find(self, locator: Locator) -> Document:
        """Reads one document again.

        Raises:
          UserError: it is not there any more.
        """
        file = self._source.files[locator.file]
        chunk = next(file.chunks(locator.chunk), None)
        if chunk is not None and chunk.number == locator.chunk:
            documents = chunk.documents(lambda error: None)[locator.record :]
            document = self._admit(documents[0]) if documents else None
            if document is not None:
                return document
        raise UserError(
            f"{file.name}: document {locator.record} of chunk {locator.chunk}, which training was "
            "reading, is not there any more: the file has changed"
        )

    def get_state(self) -> list[int]:
        """Epoch, place of the file and chunk at which the block began; documents taken of it."""
        return [*self._start, self._taken]

    def set_state(self, state: list[int]) -> None:
        """Goes to where `get_state` was called, reading the block again.

        Raises:
          UserError: the block has fewer documents than were taken of it.
        """
        *start, taken = state
        self._walk.go_to(*start)
        self._begin_block()
        if taken:
            self._read_block()
        if taken > len(self._order):
            raise UserError(
                f"{self._source.name}: documents that training had read are not there any more: "
                "a file has changed"
            )
        self._taken = taken

    @property
    def epochs(self) -> float:
        """About how many times the documents were taken."""
        share = self._taken / max(1, len(self._order))
        return self._begun + share * (self._ended - self._begun)

    def _begin_block(self) -> None:
        walk = self._walk
        self._start = walk.epoch, walk.place, walk.number
        self._begun = self._ended = walk.epochs
        self._ends: array[int] = array("q", [0])
        self._places: array[int] = array("q")
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)
        self._taken = 0

    def _read_block(self) -> bool:
        """Reads the next block, which may turn out empty; whether it ends an epoch."""
        self._begin_block()
        ends_epoch = False
        for _ in range(self._shuffle.block):
            found = self._walk.next_chunk()
            if found is None:
                ends_epoch = True
                break
            file, chunk = found
            for record, document in enumerate(chunk.each_document(self._refuse)):
                admitted = self._admit(document)
                if admitted is not None:
                    start, end = self._ends[-1], self._ends[-1] + len(admitted.utf8)
                    self._text[start:end] = admitted.utf8
                    self._ends.append(end)
                    self._places.extend((file, chunk.number, record))
            if self._ends[-1] >= self._shuffle.block_bytes:
                break
        seed = hashed_seed("block", self._shuffle.seed, self._number, self._shard, *self._start)
        self._order = np.random.default_rng(seed).permutation(len(self._ends) - 1)
        self._ended = self._walk.epochs
        return ends_epoch


def no_document(source: Source) -> UserError:
    """What is said of a source without text."""
    return UserError(f"config.data.train: the corpus is empty: there is no text in {source.name}")
