import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mmrec_jax.data.batch import DTYPES, empty_batch
from mmrec_jax.data.packing import pack, write_row
from mmrec_jax.data.windows import cut_windows


def best_fit_decreasing(lengths, capacity):
    """The definition, by looking at every row for every piece."""
    rows = []
    for piece in sorted(range(len(lengths)), key=lambda piece: (-lengths[piece], piece)):
        used = [sum(lengths[other] for other in row) for row in rows]
        fitting = [row for row, n in enumerate(used) if n + lengths[piece] <= capacity]
        if fitting:
            fullest = max(used[row] for row in fitting)
            rows[max(row for row in fitting if used[row] == fullest)].append(piece)
        else:
            rows.append([piece])
    return rows


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    capacity=strategies.integers(1, 40),
    shares=strategies.lists(strategies.floats(0, 1), max_size=60),
)
def test_rows_are_those_of_best_fit_decreasing(capacity, shares):
    lengths = [max(1, round(share * capacity)) for share in shares]
    rows = pack(np.array(lengths, np.int32), capacity)
    filled = sorted(sum(lengths[piece] for piece in row) for row in rows)
    expected = best_fit_decreasing(lengths, capacity)
    assert filled == sorted(sum(lengths[piece] for piece in row) for row in expected)
    assert sorted(piece for row in rows for piece in row) == list(range(len(lengths)))


def test_hand_made_rows():
    # 5 opens a row, 4 too; 3 fits into the row of the 5, 2 into that of the 4, as does the next 2.
    assert pack(np.array([2, 5, 2, 3, 4], np.int32), 8) == [[1, 3], [4, 0, 2]]


@pytest.mark.parametrize("seq_len", [128, 1024])
def test_hardly_a_place_is_wasted(seq_len):
    documents = np.random.default_rng(0).lognormal(4.5, 1, 3000).astype(np.int64) + 1
    windows = [min(seq_len, n - at) for n in documents.tolist() for at in range(0, n, seq_len)]
    lengths = np.array(windows[:1024], np.int32)
    assert lengths.sum() / len(pack(lengths, seq_len)) / seq_len > 0.99


def test_a_row_is_windows_end_to_end(make_store):
    # Pairs of the documents: (1,2)(2,3) | (4,5)(5,6)(6,7)(7,8)(8,9); T = 4: windows of 2, 4, 1.
    store = make_store([2, 5])
    weights = np.arange(len(store.tokens), dtype=np.float32) / 8 + 1
    store = type(store)(**{**vars(store), "weights": weights})
    batch = empty_batch(2, 4)
    write_row(batch, 1, store, cut_windows(store, 4), [2, 0])
    assert not any(array[0].any() for array in batch.values())
    assert batch["inputs"][1].tolist() == [8, 1, 2, 0]
    assert batch["targets"][1].tolist() == [9, 2, 3, 0]
    assert batch["segment_ids"][1].tolist() == [1, 2, 2, 0]
    np.testing.assert_array_equal(batch["weights"][1, :3], weights[[8, 1, 2]])
    assert batch["weights"][1, 3] == 0
    assert {name: array.dtype for name, array in batch.items()} == DTYPES
