"""Rows of packed windows, epoch after epoch."""

from typing import Any

import grain
import numpy as np

from mmrec_jax.data.batch import Batch, empty_batch
from mmrec_jax.data.packing import pack, write_row
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.windows import cut_windows


class PackedStream:
    """Batches without end (`BatchStream`) of windows that each begin from the zero state.

    Every epoch is a new permutation of all windows. They are taken in groups, a group is packed
    into rows (`packing.pack`), and its rows are shuffled, since those that were begun last are the
    emptiest.

    Batches depend on the whole batch alone: each process packs the windows of all processes, which
    costs no reading, and reads the tokens of its own rows. So the place in the stream is the same
    for any number of processes.
    """

    def __init__(
        self,
        store: TokenStore,
        seq_len: int,
        batch_size: int,
        rows: range,
        group: int,
        seed: int,
    ) -> None:
        """Starts at the first window of the first epoch.

        Args:
          store: the training split.
          seq_len: T.
          batch_size: rows of a batch, over all processes.
          rows: those of this process.
          group: windows that are packed together; of a smaller corpus, all of an epoch.
          seed: of the permutations.
        """
        self._store = store
        self._seq_len = seq_len
        self._batch_size = batch_size
        self._rows = rows
        self._seed = seed
        self._windows = cut_windows(store, seq_len)
        count = len(self._windows)
        self._group = min(group, count)
        self._order = grain.MapDataset.range(count).shuffle(seed=order_seed(seed)).repeat()
        self._taken = 0  # windows before the group
        self._packed: list[list[int]] | None = None
        self._used = 0  # rows of the group

    def __next__(self) -> Batch:
        batch = empty_batch(len(self._rows), self._seq_len)
        for number in range(self._batch_size):
            windows = self._next_row()
            if number in self._rows:
                row = number - self._rows.start
                write_row(batch, row, self._store, self._windows, windows)
        return batch

    def get_state(self) -> dict[str, Any]:
        """See `BatchStream.get_state`."""
        return {"taken": self._taken, "used": self._used}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `BatchStream.set_state`."""
        self._taken, self._used = state["taken"], state["used"]
        self._packed = None

    def _next_row(self) -> list[int]:
        if self._packed is None:
            self._packed = self._pack_group()
        windows = self._packed[self._used]
        self._used += 1
        if self._used == len(self._packed):
            self._taken, self._used, self._packed = self._taken + self._group, 0, None
        return windows

    def _pack_group(self) -> list[list[int]]:
        taken = range(self._taken, self._taken + self._group)
        numbers = [int(self._order[place]) for place in taken]
        rows = pack(self._windows.lengths[numbers], self._seq_len)
        rng = np.random.default_rng(hashed_seed("rows", self._seed, self._taken))
        return [[numbers[piece] for piece in rows[row]] for row in rng.permutation(len(rows))]


def order_seed(seed: int) -> int:
    """A 32-bit seed. grain adds the epoch to it, so neighbouring seeds must not stay neighbours."""
    return hashed_seed("windows", seed) >> 32
