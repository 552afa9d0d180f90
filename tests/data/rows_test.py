"""Rows that continue each other, and those that a model is evaluated on."""

import dataclasses
import itertools
from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.document import Document
from mmrec_jax.data.evaluation import assign_lanes, evaluation_batches
from mmrec_jax.data.lanes import LaneStream
from mmrec_jax.data.longest import longest_documents
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.tokenizers.byte import ByteTokenizer
from tests.small_data import assert_same, refused, take


def _stream(store, seq_len=8, batch_size=4, seed=0):
    return LaneStream(store, seq_len, batch_size, range(batch_size), seed)


def _segments(batches):
    """By batch row (id, inputs, targets) of what it reads, cut where the segment id changes."""
    lanes = []
    for inputs, targets, ids, _ in zip(
        *(np.concatenate([batch[name] for batch in batches], axis=1) for name in DTYPES),
        strict=True,
    ):
        edges = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
        lanes.append(
            [(int(ids[a]), inputs[a:b], targets[a:b]) for a, b in itertools.pairwise(edges)]
        )
    return lanes


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    lengths=strategies.lists(strategies.integers(1, 40), min_size=1, max_size=40),
    batch_size=strategies.integers(1, 5),
    seq_len=strategies.integers(1, 12),
    seed=strategies.integers(-5, 2**40),
)
def test_lanes_read_whole_documents_each_once_an_epoch(
    make_store, lengths, batch_size, seq_len, seed
):
    store = make_store(lengths)
    stream = _stream(store, seq_len, batch_size, seed=seed)
    batches = take(stream, 3 * store.num_pairs // (batch_size * seq_len) + 3)
    for batch in batches:
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        assert {array.shape for array in batch.values()} == {(batch_size, seq_len)}
        assert (batch["weights"] == 1).all()
    share = -(-store.num_pairs // batch_size)
    starts = {}  # the first token of each part, and its length: documents cut at a lane's share
    for begin, end in itertools.pairwise(store.offsets.tolist()):
        for place in range(begin, end - 1, share):
            starts[int(store.tokens[place])] = min(share, end - 1 - place)
    first_tokens = {}  # by segment id
    for lane in _segments(batches):
        ids = [segment for segment, _, _ in lane]
        assert ids == sorted(set(ids))
        for number, (segment, inputs, targets) in enumerate(lane):
            np.testing.assert_array_equal(inputs, np.arange(inputs[0], inputs[0] + len(inputs)))
            np.testing.assert_array_equal(targets, inputs + 1)
            length = starts[int(inputs[0])]
            assert len(inputs) == length or (number == len(lane) - 1 and len(inputs) < length)
            assert segment not in first_tokens
            first_tokens[segment] = int(inputs[0])
    assert sorted(first_tokens) == list(range(1, len(first_tokens) + 1))
    order = [first_tokens[segment] for segment in sorted(first_tokens)]
    assert len(order) > 2 * len(starts)
    for epoch in range(len(order) // len(starts)):
        part = order[epoch * len(starts) : (epoch + 1) * len(starts)]
        assert sorted(part) == sorted(starts)


def test_one_document_is_shared_out_among_the_lanes(make_store):
    store = make_store([40])
    batches = take(_stream(store, seq_len=5, batch_size=4), 2)
    read = Counter(token for batch in batches for token in batch["inputs"].ravel().tolist())
    assert read == Counter(store.tokens[:-1].tolist())


def test_epochs_and_seeds_have_other_orders(make_store):
    store = make_store([3] * 12)

    def order(seed):
        (lane,) = _segments(take(_stream(store, 9, 1, seed=seed), 8))
        firsts = [int(inputs[0]) for _, inputs, _ in lane]
        return tuple(firsts[:12]), tuple(firsts[12:])

    orders = {each for seed in range(3) for each in order(seed)}
    assert len(orders) == 6
    assert order(1) == order(1)


def test_ids_stay_positive_and_go_on_differing_however_long_the_run(make_store):
    stream = _stream(make_store([1] * 8), seq_len=6, batch_size=1)
    stream.set_state(stream.get_state() | {"taken": 2**31 - 3})
    ids = next(stream)["segment_ids"][0].tolist()
    assert ids == [2**31 - 2, 2**31 - 1, 1, 2, 3, 4]


def test_weights_travel_with_their_targets(make_store):
    store = make_store([5, 9, 3, 30])
    weights = np.arange(len(store.tokens), dtype=np.float32) / 8 + 1
    stream = _stream(dataclasses.replace(store, weights=weights), seq_len=4, batch_size=2)
    for batch in take(stream, 8):
        np.testing.assert_array_equal(batch["weights"], weights[batch["targets"] - 1])


lengths_of_documents = strategies.lists(strategies.integers(1, 70), min_size=1, max_size=40)


def joined(batches, name):
    """Lanes as whole arrays: [B, number of batches x T]."""
    return np.concatenate([batch[name] for batch in batches], axis=1)


@pytest.mark.parametrize("carry", [False, True])
@hypothesis.settings(max_examples=30)
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


@hypothesis.settings(max_examples=30)
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
        at = 0
        while at < used:
            document = int(ids[at]) - 1
            expected = store.tokens[store.offsets[document] : store.offsets[document + 1] - 1]
            stop = at + len(expected)
            np.testing.assert_array_equal(inputs[at:stop], expected)
            assert (ids[at:stop] == document + 1).all()
            seen.append(document)
            at = stop
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
def test_two_passes_are_equal_and_an_empty_split_is_refused_at_once(
    make_store, treebank_like_store, carry
):
    passes = [evaluation_batches(treebank_like_store, 4, 32, carry=carry) for _ in range(2)]
    assert_same(*passes)
    with refused("corpus"):
        evaluation_batches(make_store([]), 2, 4, carry=carry)


def test_the_longest_come_first_each_from_its_start():
    tokenizer = ByteTokenizer()
    texts = ["abc", "abcdefgh", "xy", "hgfedcba", "z"]
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    store = TokenStore.from_documents(documents, tokenizer)
    batch = longest_documents(store, rows=3, length=100)
    for row, text in enumerate(["abcdefgh", "hgfedcba", "abc"]):
        ids = [tokenizer.bos_id, *text.encode(), tokenizer.eos_id]
        count = len(ids) - 1
        assert batch["inputs"][row, :count].tolist() == ids[:-1]
        assert batch["targets"][row, :count].tolist() == ids[1:]
        expected = (np.arange(9) < count).tolist()
        assert batch["segment_ids"][row].tolist() == expected
        assert batch["weights"][row].tolist() == expected
    assert longest_documents(store, rows=9, length=4)["inputs"].shape == (5, 4)
    assert longest_documents(store, rows=1, length=9)["inputs"].shape == (1, 9)
