"""Rows that continue each other: whole documents, each once an epoch."""

import dataclasses
import itertools
from collections import Counter

import hypothesis
import numpy as np
from hypothesis import strategies

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.lanes import LaneStream
from tests.small_data import take


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
