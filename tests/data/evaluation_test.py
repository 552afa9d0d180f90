"""Batches that a model is evaluated on: every token once."""

import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.evaluation import evaluation_batches, longest_documents


@pytest.mark.parametrize("carry", [False, True])
@hypothesis.settings(max_examples=30)
@hypothesis.given(
    lengths=strategies.lists(strategies.integers(1, 70), min_size=1, max_size=40),
    batch_size=strategies.integers(1, 6),
    seq_len=strategies.integers(1, 24),
)
def test_every_token_once(make_store, carry, lengths, batch_size, seq_len):
    store = make_store(lengths)
    batches = list(evaluation_batches(store, batch_size, seq_len, carry=carry))
    for batch in batches:
        assert {array.shape for array in batch.values()} == {(batch_size, seq_len)}
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        np.testing.assert_array_equal(batch["weights"], batch["segment_ids"] > 0)
    inputs, targets, ids, _ = (np.concatenate([b[n] for b in batches], axis=1) for n in DTYPES)
    expected = np.sort(np.delete(store.tokens, store.offsets[:-1]))
    np.testing.assert_array_equal(np.sort(targets[ids > 0]), expected)
    np.testing.assert_array_equal(inputs[ids > 0] + 1, targets[ids > 0])
    assert not targets[ids == 0].any()
    if carry:  # whole documents, then padding
        assert (np.diff((ids > 0).astype(int), axis=1) <= 0).all()
        for number, (first, end) in enumerate(itertools.pairwise(store.offsets), 1):
            rows = ids == number
            assert rows.any(axis=1).sum() == 1
            assert inputs[rows].tolist() == store.tokens[first : end - 1].tolist()


def test_hand_made_rows(make_store):
    # Documents of 5, 2, 3 and 1 pairs in two rows: 5 | 3, then 2 behind the 3, then 1 behind
    # either (both hold 5): the first. Tokens begin at 1, 7, 10 and 14.
    first, second = evaluation_batches(make_store([5, 2, 3, 1]), 2, 4, carry=True)
    np.testing.assert_array_equal(first["inputs"], [[1, 2, 3, 4], [7, 8, 10, 11]])
    np.testing.assert_array_equal(first["segment_ids"], [[1, 1, 1, 1], [2, 2, 3, 3]])
    np.testing.assert_array_equal(second["inputs"], [[5, 14, 0, 0], [12, 0, 0, 0]])
    np.testing.assert_array_equal(second["targets"], [[6, 15, 0, 0], [13, 0, 0, 0]])
    np.testing.assert_array_equal(second["segment_ids"], [[1, 4, 0, 0], [3, 0, 0, 0]])
    (batch,) = evaluation_batches(make_store([9]), 4, 4, carry=False)
    assert batch["inputs"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 0, 0], [0, 0, 0, 0]]
    assert batch["segment_ids"].tolist() == [[1] * 4, [1] * 4, [1, 0, 0, 0], [0] * 4]


def test_the_longest_come_first_each_from_its_start(make_store):
    stores = [make_store([4, 9, 3, 9, 2])]
    batch = longest_documents(stores, rows=3, length=100)
    for row, first in enumerate([6, 20, 1]):
        count = 9 if row < 2 else 4
        assert batch["inputs"][row, :count].tolist() == list(range(first, first + count))
        assert batch["targets"][row, :count].tolist() == list(range(first + 1, first + count + 1))
        expected = (np.arange(9) < count).tolist()
        assert batch["segment_ids"][row].tolist() == expected
        assert batch["weights"][row].tolist() == expected
    assert longest_documents(stores, rows=9, length=4)["inputs"].shape == (5, 4)
    assert longest_documents(stores, rows=1, length=9)["inputs"].shape == (1, 9)
