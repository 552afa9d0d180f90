"""Windows of documents packed into rows: an independent packing, and each token once an epoch."""

import dataclasses
import random
from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mmrec_jax.data.batch import DTYPES, empty_batch
from mmrec_jax.data.mixture import Mixture, Stage, next_source
from mmrec_jax.data.packed_stream import PackedStream
from mmrec_jax.data.packing import pack, write_row
from mmrec_jax.data.pipeline import make_train_iterator, steps_for, tokens_per_batch
from mmrec_jax.data.windows import cut_windows
from tests.small_data import data_config, refused, take


def test_weights_by_step():
    mixture = Mixture.parse("3, 1; 500: 1,1;900:0,2", 2)
    assert mixture.stages == (Stage(1, (3, 1)), Stage(500, (1, 1)), Stage(900, (0, 2)))
    first_steps = [mixture.stage(step).first_step for step in (1, 499, 500, 899, 900, 10**9)]
    assert first_steps == [1, 1, 500, 500, 900, 900]
    assert mixture.uses(0)
    assert not Mixture.parse("0,1", 2).uses(0)


_SENSELESS = "3|3,x|3,1; a: 1,1|3,-1|3,nan|0,0|3,1; 1,1|1: 3,1|3,1; 1: 1,1|3,1; 9: 1,1; 9: 1,2"


@pytest.mark.parametrize("text", _SENSELESS.split("|"))
def test_weights_that_make_no_sense(text):
    with refused(f"config.data.weights is {text!r}: "):
        Mixture.parse(text, 2)


@pytest.mark.parametrize("weights", [(3, 1), (1, 0), (0.3, 0.7)])
def test_shares_of_two_sources_are_exact_to_one_document(weights):
    choose = random.Random(1)
    tokens, longest = [0, 0], 1
    for _ in range(2000):
        length = choose.choice([1, 20, 20, 900])
        tokens[next_source(weights, tokens)] += length
        longest = max(longest, length)
        for number, weight in enumerate(weights):
            share = weight / sum(weights) * sum(tokens)
            assert abs(tokens[number] - share) <= longest
    assert [bool(n) for n in tokens] == [bool(w) for w in weights]


def test_shares_of_many_sources_converge():
    choose, weights, tokens = random.Random(2), (5, 1, 3, 0.5), [0] * 4
    for _ in range(4000):
        tokens[next_source(weights, tokens)] += choose.randint(1, 50)
    for number, weight in enumerate(weights):
        assert abs(tokens[number] - weight / 9.5 * sum(tokens)) <= 3 * 50


_CONFIG = data_config(seq_len=32, packing_windows=40)


def targets_of(batches):
    return [t for b in batches for t in b["targets"][b["segment_ids"] > 0].tolist()]


def test_hand_made_windows(make_store):
    windows = cut_windows(make_store([3, 4, 9, 1]), 4)
    # Documents begin at 0, 4, 9 and 19; the third is cut into 4 + 4 + 1 pairs.
    assert windows.starts.tolist() == [0, 4, 9, 13, 17, 19]
    assert windows.lengths.tolist() == [3, 4, 4, 4, 1, 1]
    assert windows.documents.tolist() == [0, 1, 2, 2, 2, 3]
    assert len(windows) == 6


@hypothesis.settings(max_examples=50)
@hypothesis.given(
    lengths=strategies.lists(strategies.integers(1, 40), min_size=1, max_size=30),
    seq_len=strategies.integers(1, 17),
)
def test_every_token_but_the_begin_tokens_is_a_target_once(make_store, lengths, seq_len):
    store = make_store(lengths)
    windows = cut_windows(store, seq_len)
    targets = [
        store.tokens[start + 1 : start + 1 + length]
        for start, length in zip(windows.starts, windows.lengths, strict=True)
    ]
    expected = np.delete(store.tokens, store.offsets[:-1])
    np.testing.assert_array_equal(np.sort(np.concatenate(targets)), np.sort(expected))
    assert windows.lengths.max() <= seq_len
    ends = windows.starts + windows.lengths
    assert (ends < store.offsets[windows.documents + 1]).all()
    assert (windows.starts >= store.offsets[windows.documents]).all()


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


@pytest.mark.parametrize("seq_len", [128, 1024])
def test_hardly_a_token_is_wasted(seq_len):
    documents = np.random.default_rng(0).lognormal(4.5, 1, 3000).astype(np.int64) + 1
    windows = [min(seq_len, n - at) for n in documents.tolist() for at in range(0, n, seq_len)]
    lengths = np.array(windows[:1024], np.int32)
    assert lengths.sum() / len(pack(lengths, seq_len)) / seq_len > 0.99


def test_a_row_is_windows_end_to_end(make_store):
    # Pairs of the documents: (1,2)(2,3) | (4,5)(5,6)(6,7)(7,8)(8,9); T = 4: windows of 2, 4, 1.
    store = make_store([2, 5])
    weights = np.arange(len(store.tokens), dtype=np.float32) / 8 + 1
    store = dataclasses.replace(store, weights=weights)
    batch = empty_batch(2, 4)
    write_row(batch, 1, store, cut_windows(store, 4), [2, 0])
    assert not any(array[0].any() for array in batch.values())
    assert batch["inputs"][1].tolist() == [8, 1, 2, 0]
    assert batch["targets"][1].tolist() == [9, 2, 3, 0]
    assert batch["segment_ids"][1].tolist() == [1, 2, 2, 0]
    np.testing.assert_array_equal(batch["weights"][1], [*weights[[8, 1, 2]], 0])
    assert {name: array.dtype for name, array in batch.items()} == DTYPES


@hypothesis.settings(max_examples=12)
@hypothesis.given(
    lengths=strategies.lists(strategies.integers(1, 40), min_size=20, max_size=40),
    seq_len=strategies.integers(5, 20),
    seed=strategies.integers(0, 2**32 - 1),
)
def test_every_pair_once_an_epoch(make_store, lengths, seq_len, seed):
    store = make_store(lengths)
    hypothesis.assume(store.num_pairs >= 4 * seq_len)
    iterator = make_train_iterator(store, data_config(seq_len=seq_len, seed=seed), 1)
    counts = Counter()
    expected = set(np.delete(store.tokens, store.offsets[:-1]).tolist())
    while sum(counts.values()) < 2 * store.num_pairs:
        counts.update(targets_of([next(iterator)]))
        epochs, rest = divmod(sum(counts.values()), store.num_pairs)
        assert set(counts) <= expected
        assert {counts[token] for token in expected} <= {epochs, epochs + 1}
        assert sum(counts[token] > epochs for token in expected) == rest


def test_rows_hold_whole_windows_with_their_targets(treebank_like_store):
    store = treebank_like_store
    windows = cut_windows(store, _CONFIG.seq_len)
    ends = dict(zip(store.tokens[windows.starts].tolist(), windows.lengths, strict=True))
    for batch in take(make_train_iterator(store, _CONFIG, 4), 40):
        np.testing.assert_array_equal(batch["weights"], batch["segment_ids"] > 0)
        rows = zip(batch["inputs"], batch["targets"], batch["segment_ids"], strict=True)
        for inputs, targets, segment_ids in rows:
            used = np.count_nonzero(segment_ids)
            assert not any(array[used:].any() for array in (inputs, targets, segment_ids))
            for segment in range(1, segment_ids.max() + 1):
                part = inputs[segment_ids == segment]
                np.testing.assert_array_equal(part, np.arange(part[0], part[0] + len(part)))
                np.testing.assert_array_equal(targets[segment_ids == segment], part + 1)
                assert ends[int(part[0])] == len(part)


def test_epochs_and_seeds_have_other_orders(make_store):
    store = make_store([5 + n % 7 for n in range(40)])
    windows = cut_windows(store, _CONFIG.seq_len)
    rows = len(pack(windows.lengths, _CONFIG.seq_len))

    def order(seed, epoch):
        config = dataclasses.replace(_CONFIG, seed=seed, packing_windows=len(windows))
        batches = take(make_train_iterator(store, config, 1), rows * (epoch + 1))[rows * epoch :]
        return tuple(tuple(targets_of([batch])) for batch in batches)

    orders = {order(seed, epoch) for seed in range(3) for epoch in range(2)}
    assert len(orders) == 6
    assert len({tuple(sorted(sum(each, ()))) for each in orders}) == 1


def test_what_a_corpus_must_hold(make_store):
    with refused("row", 31, "seq_len", 32):
        make_train_iterator(make_store([20, 11]), _CONFIG, 1)
    with refused("batch", 63, "2 x 32"):
        make_train_iterator(make_store([20, 20, 23]), _CONFIG, 2)
    assert next(make_train_iterator(make_store([20, 20, 24]), _CONFIG, 2))["inputs"].any()


def test_steps_follow_the_measured_fill(treebank_like_store):
    store = treebank_like_store
    batches = take(make_train_iterator(store, _CONFIG, 4), 120)
    fill = len(targets_of(batches[:64])) / 64
    assert fill < 4 * 32
    assert tokens_per_batch(store, _CONFIG, 4) == fill
    assert steps_for(store, _CONFIG, 4, epochs=2.5) == int(np.ceil(2.5 * store.num_pairs / fill))
    assert steps_for(store, _CONFIG, 4, tokens=10_000) == int(np.ceil(10_000 / fill))
    assert steps_for(store, _CONFIG, 4, tokens=1) == 1
    steps = steps_for(store, _CONFIG, 4, epochs=3)
    assert steps <= len(batches)
    read = len(targets_of(batches[:steps]))
    assert read / store.num_pairs == pytest.approx(3, rel=0.02)
    for lengths in ({}, {"epochs": 1, "tokens": 1}):
        with pytest.raises(ValueError, match="exactly one"):
            steps_for(store, _CONFIG, 4, **lengths)


def test_rows_that_continue_each_other_have_no_padding(treebank_like_store):
    store = treebank_like_store
    assert steps_for(store, _CONFIG, 4, carry_state=True, tokens=1281) == 11  # of 4 x 32 tokens
    epochs = steps_for(store, _CONFIG, 4, carry_state=True, epochs=1.5)
    assert epochs == int(np.ceil(1.5 * store.num_pairs / 128))
    first, second = take(make_train_iterator(store, _CONFIG, 4, carry_state=True), 2)
    assert (first["segment_ids"] > 0).all()
    continued = first["segment_ids"][:, -1] == second["segment_ids"][:, 0]
    assert continued.any()
    np.testing.assert_array_equal(first["targets"][continued, -1], second["inputs"][continued, 0])


# Sources with weights.

_LENGTHS = [11, 30, 7, 19] * 12 + [5, 64, 23] * 10
_FIRST = 48  # documents of the first source


@pytest.fixture(scope="module")
def mixed(make_store):
    sources = (("a", _FIRST), ("b", len(_LENGTHS) - _FIRST))
    return dataclasses.replace(make_store(_LENGTHS), sources=sources)


def stream_of(store, weights):
    return PackedStream(store, 16, 4, range(4), group=20, seed=3, weights=weights)


def share_of_first(store, batches):
    targets = np.array(targets_of(batches))
    return np.mean(targets <= store.tokens[store.offsets[_FIRST]])


@pytest.mark.parametrize(("weights", "share"), [("3,1", 0.75), ("1,4", 0.2), ("0,2", 0.0)])
def test_shares_of_tokens_are_the_weights(mixed, weights, share):
    taken = share_of_first(mixed, take(stream_of(mixed, weights), 100))
    assert taken == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize(("then", "share"), [("0,1", 0), ("1,1", 0.5)])
def test_weights_change_at_their_step_and_shares_are_counted_from_there(mixed, then, share):
    batches = take(stream_of(mixed, f"1,0; 41: {then}"), 100)
    assert share_of_first(mixed, batches[:40]) == 1
    # The group of windows that is being read keeps its weights.
    assert share_of_first(mixed, batches[46:]) == pytest.approx(share, abs=0.03)


def test_every_window_of_a_source_once_in_its_epoch(mixed):
    stream = stream_of(mixed, "2,1")
    counts = np.bincount(targets_of(take(stream, 120)), minlength=len(mixed.tokens) + 2)
    first = counts[mixed.tokens[1 : mixed.offsets[_FIRST]]]
    first = first[first > 0]
    epochs = stream.metrics()["epochs of a"]
    assert epochs > 2
    # As often as any other, or once more; the group may be half read.
    assert first.max() - first.min() <= 2
    assert first.mean() == pytest.approx(epochs, abs=0.3)


def test_weights_of_another_number_of_sources_are_refused(mixed):
    with refused("config.data.train", "1,2,3"):
        stream_of(mixed, "1,2,3")
