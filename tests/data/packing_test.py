import dataclasses

import grain
import numpy as np

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.packing import WindowSource, packed_batches
from mmrec_jax.data.windows import cut_windows


def rows_of(store, seq_len, rows, bins, shuffle_seed=None):
    windows = grain.MapDataset.source(WindowSource(store, cut_windows(store, seq_len)))
    return list(packed_batches(windows, seq_len, rows, bins, shuffle_seed))


def test_hand_made_rows(make_store):
    # Pairs of the documents: (1,2)(2,3) | (4,5)(5,6)(6,7) | (8,9) | (10,11)..(14,15); T = 4.
    # Windows of 2, 3, 1, 4 and 1 pairs. First-fit into two open rows: the 2 opens row 0, the 3
    # opens row 1, the 1 fits in row 0; the 4 fits nowhere, both rows leave, and it opens the next
    # group, whose second row takes the last pair.
    (first, second) = rows_of(make_store([2, 3, 1, 5]), seq_len=4, rows=2, bins=2)
    np.testing.assert_array_equal(first["inputs"], [[1, 2, 8, 0], [4, 5, 6, 0]])
    np.testing.assert_array_equal(first["targets"], [[2, 3, 9, 0], [5, 6, 7, 0]])
    np.testing.assert_array_equal(first["segment_ids"], [[1, 1, 2, 0], [1, 1, 1, 0]])
    np.testing.assert_array_equal(second["inputs"], [[10, 11, 12, 13], [14, 0, 0, 0]])
    np.testing.assert_array_equal(second["targets"], [[11, 12, 13, 14], [15, 0, 0, 0]])
    np.testing.assert_array_equal(second["segment_ids"], [[1, 1, 1, 1], [1, 0, 0, 0]])
    np.testing.assert_array_equal(second["weights"], [[1, 1, 1, 1], [1, 0, 0, 0]])


def test_arrays_have_their_dtypes_and_one_shape(make_store):
    batches = rows_of(make_store([2, 3, 1, 5, 7]), seq_len=4, rows=3, bins=2)
    for batch in batches:
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        for array in batch.values():
            assert array.shape == (3, 4)
            assert array.flags.c_contiguous


def test_last_batch_is_filled_with_empty_rows(make_store):
    batches = rows_of(make_store([4, 4, 4]), seq_len=4, rows=2, bins=8)
    assert len(batches) == 2
    assert batches[1]["segment_ids"].tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]
    assert not batches[1]["inputs"][1].any()


def test_shuffle_moves_whole_rows(make_store):
    store = make_store([4] * 32)
    plain = rows_of(store, 4, rows=32, bins=32)[0]["inputs"]
    mixed = rows_of(store, 4, rows=32, bins=32, shuffle_seed=3)[0]["inputs"]
    assert plain.tolist() != mixed.tolist()
    assert sorted(plain.tolist()) == sorted(mixed.tolist())


def test_weights_travel_with_their_targets(make_store):
    store = make_store([2, 3, 1])
    weights = np.arange(len(store.tokens), dtype=np.float32) / 8 + 1
    store = dataclasses.replace(store, weights=weights)
    windows = grain.MapDataset.source(WindowSource(store, cut_windows(store, 4)))
    (batch,) = packed_batches(windows, 4, rows=3, bins=3, shuffle_seed=None)
    real = batch["segment_ids"] > 0
    # Token i + 1 stands at place i of the store.
    np.testing.assert_array_equal(batch["weights"][real], weights[batch["targets"][real] - 1])
    assert not batch["weights"][~real].any()
    assert {name: array.dtype for name, array in batch.items()} == DTYPES
