"""Windows packed into rows, rows stacked into batches (grain).

Rows are filled first-fit: `bins` rows are open at a time, each window goes to the first
one with room, and when one fits nowhere all of them are emitted. Windows are never cut here. The
state of the iterator is the place in the stream of windows at which the current group of rows began
and the row that comes next, so leftover windows are packed again, not stored.
"""

from collections.abc import Sequence

import grain
import numpy as np
from grain import experimental

from mmrec_jax.data.batch import Batch, empty_batch
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.windows import Windows


class WindowSource:
    """Random access to windows as {"pairs": int32 [length, 2]}: input and target.

    Of a store with weights each has "weights" too, float32 [length]: of the targets.
    """

    def __init__(self, store: TokenStore, windows: Windows) -> None:
        self._pairs = np.lib.stride_tricks.sliding_window_view(store.tokens, 2)
        self._windows = windows
        self._weights = store.weights

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> Batch:
        start = self._windows.starts[index]
        stop = start + self._windows.lengths[index]
        window: Batch = {"pairs": self._pairs[start:stop]}
        if self._weights is not None:
            window["weights"] = self._weights[start + 1 : stop + 1]
        return window

    def __repr__(self) -> str:
        return f"WindowSource({len(self)} windows)"


def packed_batches(
    windows: grain.MapDataset,
    seq_len: int,
    rows: int,
    bins: int,
    shuffle_seed: int | None,
    *,
    weighted: bool = False,
) -> grain.IterDataset:
    """Batches of `rows` rows (the last one padded with empty rows) from a stream of windows.

    Args:
      windows: elements as of `WindowSource`, none longer than `seq_len`.
      seq_len: T.
      rows: B.
      bins: rows that are open at the same time.
      shuffle_seed: shuffles each emitted group of rows, since first-fit leaves the last rows of a
        group emptier than the first; None: no shuffle.
      weighted: the windows have weights; otherwise every token has 1.
    """
    # Everything is in memory: reading ahead in threads would only cost.
    stream = windows.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    packed = experimental.FirstFitPackIterDataset(
        stream,
        length_struct={"pairs": seq_len} | ({"weights": seq_len} if weighted else {}),
        num_packing_bins=bins,
        shuffle_bins=shuffle_seed is not None,
        seed=shuffle_seed or 0,
    )

    def stack(elements: Sequence[Batch]) -> Batch:
        batch = empty_batch(rows, seq_len)
        for row, element in enumerate(elements):
            batch["inputs"][row], batch["targets"][row] = element["pairs"].T
            batch["segment_ids"][row] = element["pairs_segment_ids"]
            if weighted:
                batch["weights"][row] = element["weights"]
        if not weighted:
            batch["weights"][:] = batch["segment_ids"] > 0
        return batch

    return packed.batch(rows, drop_remainder=False, batch_fn=stack)
