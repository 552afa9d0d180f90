"""Lanes: row b of each batch continues row b of the batch before."""

from typing import Any

import numpy as np

from mmrec_jax.data.batch import Batch, empty_batch
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.windows import cut_windows

_LARGEST_ID = 2**31 - 1


class LaneStream:
    """Batches without end (`BatchStream`) for training with a carried state.

    Every lane reads a document from its first token to its last, over as many batches as it takes;
    then it takes the next one in the order of the epoch. Each epoch is a new permutation, every
    document is read once in it, and no row has padding. A document that is longer than a lane's
    share of the corpus is cut into pieces of at most that, read as documents of their own:
    otherwise lanes would run out of other documents, or read the same one in step.

    The segment id is the number of the document in the endless stream of all epochs, from 1, so
    that neighbours in a lane never have the same one.

    Which lane reads what depends on the whole batch alone: each process deals for all lanes, and
    builds only its own rows.
    """

    def __init__(
        self, store: TokenStore, seq_len: int, batch_size: int, rows: range, seed: int
    ) -> None:
        """Starts at the first document of the first epoch.

        Args:
          store: the training split; it holds at least one row for each lane.
          seq_len: T.
          batch_size: lanes, over all processes.
          rows: the lanes of this process.
          seed: of the permutations.
        """
        self._store = store
        self._seq_len = seq_len
        self._rows = rows
        self._seed = seed
        self._pieces = cut_windows(store, -(-store.num_pairs // batch_size))
        self._epoch, self._order = -1, np.zeros(0, np.int64)
        self._taken = 0
        # Of each lane: the piece, how much of it was read, its segment id. Empty at the start.
        self._lanes = [(0, int(self._pieces.lengths[0]), 0)] * batch_size

    def __next__(self) -> Batch:
        batch = empty_batch(len(self._rows), self._seq_len)
        for lane in range(len(self._lanes)):
            filled = 0
            while filled < self._seq_len:
                piece, read, segment = self._lanes[lane]
                left = int(self._pieces.lengths[piece]) - read
                if not left:
                    self._lanes[lane] = self._take()
                    continue
                count = min(left, self._seq_len - filled)
                if lane in self._rows:
                    row, places = lane - self._rows.start, slice(filled, filled + count)
                    start = int(self._pieces.starts[piece]) + read
                    targets = slice(start + 1, start + 1 + count)
                    batch["inputs"][row, places] = self._store.tokens[start : start + count]
                    batch["targets"][row, places] = self._store.tokens[targets]
                    batch["weights"][row, places] = self._store.target_weights(targets)
                    batch["segment_ids"][row, places] = segment
                self._lanes[lane] = (piece, read + count, segment)
                filled += count
        return batch

    def get_state(self) -> dict[str, Any]:
        """See `BatchStream.get_state`."""
        return {"taken": self._taken, "lanes": [list(lane) for lane in self._lanes]}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `BatchStream.set_state`."""
        self._taken = state["taken"]
        self._lanes = [(piece, read, segment) for piece, read, segment in state["lanes"]]

    def metrics(self) -> dict[str, float]:
        """See `BatchStream.metrics`: epochs, by the documents that were begun."""
        return {"epochs": self._taken / len(self._pieces)}

    def _take(self) -> tuple[int, int, int]:
        """A lane at the beginning of the next document."""
        epoch, place = divmod(self._taken, len(self._pieces))
        if epoch != self._epoch:
            rng = np.random.default_rng(hashed_seed("lanes", self._seed, epoch))
            self._epoch, self._order = epoch, rng.permutation(len(self._pieces))
        segment = self._taken % _LARGEST_ID + 1
        self._taken += 1
        return int(self._order[place]), 0, segment
