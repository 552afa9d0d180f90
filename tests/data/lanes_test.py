import dataclasses
import itertools
import json
from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.lanes import LaneStream


def _stream(store, seq_len=8, batch_size=4, rows=None, seed=0):
    rows = range(batch_size) if rows is None else rows
    return LaneStream(store, seq_len, batch_size, rows, seed)


def _take(stream, count):
    return [next(stream) for _ in range(count)]


def _segments(batches):
    """What each lane reads, cut where the segment id changes: lists of (id, inputs, targets)."""
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


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)
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
    batches = _take(stream, 3 * store.num_pairs // (batch_size * seq_len) + 3)
    for batch in batches:
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        assert {array.shape for array in batch.values()} == {(batch_size, seq_len)}
        assert (batch["weights"] == 1).all()
    share = -(-store.num_pairs // batch_size)
    starts = {}  # the first token of each piece, and its length: documents cut at a lane's share
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
    batches = _take(_stream(store, seq_len=5, batch_size=4), 2)
    read = Counter(token for batch in batches for token in batch["inputs"].ravel().tolist())
    assert read == Counter(store.tokens[:-1].tolist())


def test_epochs_and_seeds_have_other_orders(make_store):
    store = make_store([3] * 12)

    def order(seed):
        (lane,) = _segments(_take(_stream(store, 9, 1, seed=seed), 8))
        firsts = [int(inputs[0]) for _, inputs, _ in lane]
        return tuple(firsts[:12]), tuple(firsts[12:])

    orders = {each for seed in range(3) for each in order(seed)}
    assert len(orders) == 6
    assert order(1) == order(1)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_resumed_stream_is_the_uninterrupted_one(treebank_like_store, batch_size):
    # 150 documents of about 30 pairs: the stops lie in the first epochs and inside documents.
    stream = _stream(treebank_like_store, 37, batch_size)
    states, batches = [json.dumps(stream.get_state())], []
    for _ in range(300):
        batches.append(next(stream))
        states.append(json.dumps(stream.get_state()))
    for stop in (0, 1, 2, 40, 120, 121, 290):
        resumed = _stream(treebank_like_store, 37, batch_size)
        _take(resumed, stop % 3)  # what was read before does not matter
        resumed.set_state(json.loads(states[stop]))
        for expected, batch in zip(batches[stop : stop + 5], _take(resumed, 5), strict=True):
            for name in DTYPES:
                np.testing.assert_array_equal(batch[name], expected[name])
        assert json.dumps(resumed.get_state()) == states[stop + 5]


def test_processes_read_their_lanes_of_the_one_batch(treebank_like_store):
    whole = _take(_stream(treebank_like_store, 16, 6), 40)
    parts = [
        _take(_stream(treebank_like_store, 16, 6, range(start, start + 2)), 40)
        for start in (0, 2, 4)
    ]
    for step, expected in enumerate(whole):
        for name in DTYPES:
            joined = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(joined, expected[name])


def test_ids_stay_positive_and_go_on_differing_however_long_the_run(make_store):
    stream = _stream(make_store([1] * 8), seq_len=6, batch_size=1)
    stream.set_state(stream.get_state() | {"taken": 2**31 - 3})
    ids = next(stream)["segment_ids"][0].tolist()
    assert ids == [2**31 - 2, 2**31 - 1, 1, 2, 3, 4]


def test_weights_travel_with_their_targets(make_store):
    store = make_store([5, 9, 3, 30])
    weights = np.arange(len(store.tokens), dtype=np.float32) / 8 + 1
    stream = _stream(dataclasses.replace(store, weights=weights), seq_len=4, batch_size=2)
    for batch in _take(stream, 8):
        np.testing.assert_array_equal(batch["weights"], weights[batch["targets"] - 1])
