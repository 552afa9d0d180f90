import dataclasses
import itertools
import json
from collections import Counter

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies

from mmrec_jax.config import DataConfig
from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.packing import pack
from mmrec_jax.data.pipeline import (
    make_train_iterator,
    steps_for,
    tokens_per_batch,
)
from mmrec_jax.data.windows import cut_windows
from mmrec_jax.errors import UserError

CONFIG = DataConfig(seq_len=32, packing_windows=40)


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        for name in DTYPES:
            np.testing.assert_array_equal(a[name], b[name])


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def targets_of(batches):
    return [t for b in batches for t in b["targets"][b["segment_ids"] > 0].tolist()]


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True, database=None)
@hypothesis.given(
    lengths=strategies.lists(strategies.integers(1, 40), min_size=20, max_size=60),
    seq_len=strategies.integers(3, 20),
    seed=strategies.integers(-5, 2**40),
)
def test_every_pair_once_an_epoch(make_store, lengths, seq_len, seed):
    store = make_store(lengths)
    hypothesis.assume(store.num_pairs >= 4 * seq_len)
    config = DataConfig(seq_len=seq_len, seed=seed)
    iterator = make_train_iterator(store, config, 1)
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
    windows = cut_windows(store, CONFIG.seq_len)
    ends = dict(zip(store.tokens[windows.starts].tolist(), windows.lengths, strict=True))
    for batch in take(make_train_iterator(store, CONFIG, 4), 40):
        np.testing.assert_array_equal(batch["weights"], batch["segment_ids"] > 0)
        rows = zip(batch["inputs"], batch["targets"], batch["segment_ids"], strict=True)
        for inputs, targets, segment_ids in rows:
            used = np.count_nonzero(segment_ids)
            assert not inputs[used:].any()
            assert not targets[used:].any()
            assert not segment_ids[used:].any()
            for segment in range(1, segment_ids.max() + 1):
                part = inputs[segment_ids == segment]
                np.testing.assert_array_equal(part, np.arange(part[0], part[0] + len(part)))
                np.testing.assert_array_equal(targets[segment_ids == segment], part + 1)
                assert ends[int(part[0])] == len(part)


def test_epochs_and_seeds_have_other_orders(treebank_like_store):
    store = treebank_like_store
    windows = cut_windows(store, CONFIG.seq_len)
    rows = len(pack(windows.lengths, CONFIG.seq_len))

    def order(seed, epoch):
        config = dataclasses.replace(CONFIG, seed=seed, packing_windows=len(windows))
        batches = take(make_train_iterator(store, config, 1), rows * (epoch + 1))[rows * epoch :]
        return tuple(tuple(targets_of([batch])) for batch in batches)

    orders = {order(seed, epoch) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert len({tuple(sorted(sum(each, ()))) for each in orders}) == 1
    assert order(1, 1) in orders


def test_same_seed_same_stream(treebank_like_store):
    streams = [take(make_train_iterator(treebank_like_store, CONFIG, 4), 30) for _ in range(2)]
    assert_same(*streams)


@pytest.mark.parametrize("batch_size", [1, 4, 6, 7])
def test_resumed_stream_is_the_uninterrupted_one(treebank_like_store, batch_size):
    # 150 documents make about 24 batches of 4 an epoch: the stops lie at the start, inside groups
    # of rows, at their ends, and beyond the end of an epoch.
    iterator = make_train_iterator(treebank_like_store, CONFIG, batch_size)
    states, batches = [json.dumps(iterator.get_state())], []
    for batch in itertools.islice(iterator, 90):
        batches.append(batch)
        states.append(json.dumps(iterator.get_state()))
    for stop in [*range(14), 23, 24, 25, 47, 60, 85]:
        resumed = make_train_iterator(treebank_like_store, CONFIG, batch_size)
        take(resumed, stop % 3)  # what was read before does not matter
        resumed.set_state(json.loads(states[stop]))
        assert_same(take(resumed, 5), batches[stop : stop + 5])
        assert json.dumps(resumed.get_state()) == states[stop + 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seq_len": 16}, r"data\.seq_len \(saved 32, now 16\)$"),
        ({"packing_windows": 5}, r"data\.packing_windows \(saved 40, now 5\)$"),
        ({"seed": 1}, r"data\.seed \(saved 0, now 1\)$"),
    ],
)
def test_state_of_other_settings_is_refused(treebank_like_store, change, message):
    state = make_train_iterator(treebank_like_store, CONFIG, 4).get_state()
    other = make_train_iterator(treebank_like_store, dataclasses.replace(CONFIG, **change), 4)
    with pytest.raises(UserError, match="belongs to other data: " + message):
        other.set_state(state)


def test_state_of_other_text_or_batch_is_refused(treebank_like_store, make_store):
    state = make_train_iterator(treebank_like_store, CONFIG, 4).get_state()
    with pytest.raises(UserError, match=r"other data: tokens \(saved \w+, now \w+\)$"):
        make_train_iterator(make_store([50] * 9), CONFIG, 4).set_state(state)
    with pytest.raises(UserError, match=r"train\.batch_size \(saved 4, now 8\)$"):
        make_train_iterator(treebank_like_store, CONFIG, 8).set_state(state)


def of_process(store, index, count):
    return make_train_iterator(store, CONFIG, 4, process_index=index, process_count=count)


@pytest.mark.parametrize("before", [1, 2, 4])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_a_run_of_n_processes_continues_on_m(treebank_like_store, before, after):
    # Every batch, put together from the rows of the processes, is that of one process alone: so
    # each window is read once an epoch, whatever number of processes read which part of it.
    whole = take(make_train_iterator(treebank_like_store, CONFIG, 4), 60)
    first = [of_process(treebank_like_store, index, before) for index in range(before)]
    parts = list(zip(*(take(iterator, 23) for iterator in first), strict=True))
    (state,) = {json.dumps(iterator.get_state()) for iterator in first}
    second = [of_process(treebank_like_store, index, after) for index in range(after)]
    for iterator in second:
        iterator.set_state(json.loads(state))
    parts += zip(*(take(iterator, 37) for iterator in second), strict=True)
    together = [
        {name: np.concatenate([part[name] for part in each]) for name in DTYPES} for each in parts
    ]
    assert_same(together, whole)


def test_rows_are_divided_among_processes(treebank_like_store):
    iterator = make_train_iterator(treebank_like_store, CONFIG, 6, process_index=1, process_count=3)
    assert next(iterator)["inputs"].shape == (2, 32)
    with pytest.raises(UserError, match=r"train\.batch_size is 4; .* multiple of .* processes, 3"):
        make_train_iterator(treebank_like_store, CONFIG, 4, process_count=3)


def test_too_small_corpora(make_store):
    with pytest.raises(UserError, match=r"smaller than a row: it has 31 tokens .*seq_len is 32"):
        make_train_iterator(make_store([20, 11]), CONFIG, 1)
    with pytest.raises(UserError, match=r"smaller than a batch: it has 63 tokens .* 2 x 32"):
        make_train_iterator(make_store([20, 20, 23]), CONFIG, 2)
    assert next(make_train_iterator(make_store([20, 20, 24]), CONFIG, 2))["inputs"].any()


def test_steps_follow_the_measured_fill(treebank_like_store):
    store = treebank_like_store
    batches = take(make_train_iterator(store, CONFIG, 4), 64)
    fill = len(targets_of(batches)) / 64
    assert fill < 4 * 32
    assert tokens_per_batch(store, CONFIG, 4) == fill
    assert steps_for(store, CONFIG, 4, epochs=2.5) == int(np.ceil(2.5 * store.num_pairs / fill))
    assert steps_for(store, CONFIG, 4, tokens=10_000) == int(np.ceil(10_000 / fill))
    assert steps_for(store, CONFIG, 4, tokens=1) == 1


def test_steps_of_an_epoch_predict_about_the_corpus(treebank_like_store):
    steps = steps_for(treebank_like_store, CONFIG, 4, epochs=3)
    batches = take(make_train_iterator(treebank_like_store, CONFIG, 4), steps)
    assert len(targets_of(batches)) / treebank_like_store.num_pairs == pytest.approx(3, rel=0.02)


def test_rows_that_continue_each_other_have_no_padding(treebank_like_store):
    store = treebank_like_store
    assert steps_for(store, CONFIG, 4, carry_state=True, tokens=1281) == 11  # of 4 x 32 tokens
    epochs = steps_for(store, CONFIG, 4, carry_state=True, epochs=1.5)
    assert epochs == int(np.ceil(1.5 * store.num_pairs / 128))
    iterator = make_train_iterator(store, CONFIG, 4, carry_state=True)
    state = iterator.get_state()
    first, second = take(iterator, 2)
    assert (first["segment_ids"] > 0).all()
    continued = first["segment_ids"][:, -1] == second["segment_ids"][:, 0]
    assert continued.any()
    np.testing.assert_array_equal(first["targets"][continued, -1], second["inputs"][continued, 0])
    packed = make_train_iterator(store, CONFIG, 4)
    with pytest.raises(UserError, match=r"train\.carry_state \(saved True, now False\)"):
        packed.set_state(state)
    with pytest.raises(UserError, match=r"train\.carry_state \(saved False, now True\)$"):
        iterator.set_state(packed.get_state())


def test_exactly_one_length_is_given(treebank_like_store):
    for lengths in ({}, {"epochs": 1, "tokens": 1}):
        with pytest.raises(ValueError, match="exactly one"):
            steps_for(treebank_like_store, CONFIG, 4, **lengths)
