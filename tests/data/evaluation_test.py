import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.evaluation import assign_lanes, evaluation_batches
from mmrec_jax.errors import UserError

lengths_of_documents = strategies.lists(strategies.integers(1, 70), min_size=1, max_size=40)


def joined(batches, name):
    """Lanes as whole arrays: [B, number of batches x T]."""
    return np.concatenate([batch[name] for batch in batches], axis=1)


@pytest.mark.parametrize("carry", [False, True])
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    lengths=lengths_of_documents,
    batch_size=strategies.integers(1, 6),
    seq_len=strategies.integers(1, 24),
)
def test_every_token_once(make_store, carry, lengths, batch_size, seq_len):
    store = make_store(lengths)
    batches = list(evaluation_batches(store, batch_size, seq_len, carry=carry))
    used = joined(batches, "segment_ids") > 0
    targets = joined(batches, "targets")
    expected = np.sort(np.delete(store.tokens, store.offsets[:-1]))
    np.testing.assert_array_equal(np.sort(targets[used]), expected)
    np.testing.assert_array_equal(joined(batches, "inputs")[used] + 1, targets[used])
    assert not targets[~used].any()
    for batch in batches:
        assert {array.shape for array in batch.values()} == {(batch_size, seq_len)}
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        np.testing.assert_array_equal(batch["weights"], batch["segment_ids"] > 0)


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    lengths=lengths_of_documents,
    batch_size=strategies.integers(1, 6),
    seq_len=strategies.integers(1, 24),
)
def test_carried_lanes_are_whole_documents_then_padding(make_store, lengths, batch_size, seq_len):
    store = make_store(lengths)
    batches = list(evaluation_batches(store, batch_size, seq_len, carry=True))
    seen = []
    for inputs, ids in zip(joined(batches, "inputs"), joined(batches, "segment_ids"), strict=True):
        used = np.count_nonzero(ids)
        assert (ids[:used] > 0).all()
        place = 0
        while place < used:
            document = int(ids[place]) - 1
            expected = store.tokens[store.offsets[document] : store.offsets[document + 1] - 1]
            stop = place + len(expected)
            np.testing.assert_array_equal(inputs[place:stop], expected)
            assert (ids[place:stop] == document + 1).all()
            seen.append(document)
            place = stop
    assert sorted(seen) == list(range(len(lengths)))


def test_hand_made_lanes(make_store):
    # Documents of 5, 2, 3 and 1 pairs on two lanes: 5 | 3, then 2 behind the 3, then 1 behind
    # either (both hold 5): the first. Tokens begin at 1, 7, 10 and 14.
    first, second = evaluation_batches(make_store([5, 2, 3, 1]), 2, 4, carry=True)
    np.testing.assert_array_equal(first["inputs"], [[1, 2, 3, 4], [7, 8, 10, 11]])
    np.testing.assert_array_equal(first["segment_ids"], [[1, 1, 1, 1], [2, 2, 3, 3]])
    np.testing.assert_array_equal(second["inputs"], [[5, 14, 0, 0], [12, 0, 0, 0]])
    np.testing.assert_array_equal(second["targets"], [[6, 15, 0, 0], [13, 0, 0, 0]])
    np.testing.assert_array_equal(second["segment_ids"], [[1, 4, 0, 0], [3, 0, 0, 0]])


def test_lanes_are_balanced(make_store):
    lengths = np.random.default_rng(0).integers(1, 200, 100)
    loads = [sum(lengths[d] for d in lane) for lane in assign_lanes(make_store(lengths), 8)]
    assert max(loads) - min(loads) <= 20  # of about 1,250 each
    assert max(loads) < lengths.sum() / 8 + lengths.max()


def test_windows_start_anew_without_carry(make_store):
    (batch,) = evaluation_batches(make_store([9]), 4, 4, carry=False)
    assert batch["inputs"].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 0, 0], [0, 0, 0, 0]]
    assert batch["segment_ids"].tolist() == [[1] * 4, [1] * 4, [1, 0, 0, 0], [0] * 4]


@pytest.mark.parametrize("carry", [False, True])
def test_two_passes_are_equal(treebank_like_store, carry):
    passes = [list(evaluation_batches(treebank_like_store, 4, 32, carry=carry)) for _ in range(2)]
    for name in DTYPES:
        np.testing.assert_array_equal(joined(passes[0], name), joined(passes[1], name))


def test_empty_split_is_refused_at_once(make_store):
    for carry in (False, True):
        with pytest.raises(UserError, match="the corpus is empty"):
            evaluation_batches(make_store([]), 2, 4, carry=carry)
