"""Windows of documents, and rows packed from them: against an independent packing."""

import dataclasses

import hypothesis
import numpy as np
from hypothesis import strategies

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.chunks import Chunks
from mmrec_jax.data.packing import batch_of, pack, segments_row


def best_fit_decreasing(lengths, capacity):
    """The definition, by looking at every row for every window."""
    rows = []
    for window in sorted(range(len(lengths)), key=lambda window: (-lengths[window], window)):
        used = [sum(lengths[other] for other in row) for row in rows]
        fitting = [row for row, n in enumerate(used) if n + lengths[window] <= capacity]
        if fitting:
            fullest = max(used[row] for row in fitting)
            rows[max(row for row in fitting if used[row] == fullest)].append(window)
        else:
            rows.append([window])
    return rows


@hypothesis.settings(max_examples=60)
@hypothesis.given(
    capacity=strategies.integers(1, 40),
    shares=strategies.lists(strategies.floats(0, 1), max_size=60),
)
def test_rows_are_those_of_best_fit_decreasing(capacity, shares):
    lengths = [max(1, round(share * capacity)) for share in shares]
    rows = pack(np.array(lengths, np.int32), capacity)
    filled = sorted(sum(lengths[window] for window in row) for row in rows)
    expected = best_fit_decreasing(lengths, capacity)
    assert filled == sorted(sum(lengths[window] for window in row) for row in expected)
    assert sorted(window for row in rows for window in row) == list(range(len(lengths)))


def test_a_row_is_windows_end_to_end(make_store):
    # Pairs of the documents: (1,2)(2,3) | (4,5)(5,6)(6,7)(7,8)(8,9); T = 4: windows of 2, 4, 1.
    store = make_store([2, 5])
    weights = np.arange(len(store.tokens), dtype=np.float32) / 8 + 1
    windows = Chunks([dataclasses.replace(store, weights=weights)], 4)
    batch = batch_of([segments_row([], 4), segments_row([windows[2], windows[0]], 4)])
    assert not any(array[0].any() for array in batch.values())
    assert batch["inputs"][1].tolist() == [8, 1, 2, 0]
    assert batch["targets"][1].tolist() == [9, 2, 3, 0]
    assert batch["segment_ids"][1].tolist() == [1, 2, 2, 0]
    np.testing.assert_array_equal(batch["weights"][1], [*weights[[8, 1, 2]], 0])
    assert {name: array.dtype for name, array in batch.items()} == DTYPES
