"""Rows of training text: each target once an epoch, in windows, documents and shares."""

import itertools
from collections import Counter

import numpy as np
import pytest

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.chunks import Chunks, document_runs
from mmrec_jax.data.mixture import next_source
from tests.small_data import refused, take
from tests.small_text import LENGTHS, SOURCES, stored, text_dataset

_TARGETS = sum(LENGTHS) + len(LENGTHS)  # numbers and end tokens
_CARRIED = pytest.mark.parametrize("carry_state", [False, True])


def _segments(batches):
    """By batch row (id, inputs, targets) of what it reads, cut where the id changes."""
    rows = []
    for inputs, targets, ids, _ in zip(
        *(np.concatenate([batch[name] for batch in batches], axis=1) for name in DTYPES),
        strict=True,
    ):
        edges = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist(), len(ids)]
        cut = [(int(ids[a]), inputs[a:b], targets[a:b]) for a, b in itertools.pairwise(edges)]
        rows.append(cut)
    return rows


@_CARRIED
@pytest.mark.parametrize(("batch_size", "shards"), [(8, None), (6, 3), (1, None)])
def test_every_target_is_read_once_an_epoch_behind_its_input(carry_state, batch_size, shards):
    data = text_dataset("stored", carry_state=carry_state, shards=shards)
    steps = 6 * _TARGETS // (batch_size * 16)
    iterator = data.batches(batch_size)
    batches = take(iterator, steps)
    counts: Counter[int] = Counter()
    for batch in batches:
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        assert {array.shape for array in batch.values()} == {(batch_size, 16)}
        used = batch["segment_ids"] > 0
        np.testing.assert_array_equal(batch["weights"], used)
        assert used.all() or not carry_state
        inputs, targets = batch["inputs"][used], batch["targets"][used]
        follows = (targets == inputs + 1) | (inputs == 0) | (targets == 1)
        assert follows.all()
        counts.update(targets.tolist())
    ends = counts.pop(1)
    assert len(counts) == sum(LENGTHS)
    epochs = sum(counts.values()) / sum(LENGTHS)
    assert epochs > 5
    # As often as any other, within what the shards are ahead of each other.
    assert max(abs(count - epochs) for count in counts.values()) <= 2.5
    assert ends / len(LENGTHS) == pytest.approx(epochs, rel=0.05)
    assert iterator.metrics()["epochs"] == pytest.approx(epochs, abs=0.6)


def test_carried_rows_are_documents_from_the_first_token_to_the_last():
    batches = take(text_dataset("stored", carry_state=True).batches(4), 200)
    share = _TARGETS / 4
    seen = set()
    for row in _segments(batches):
        for number, (segment_id, inputs, targets) in enumerate(row):
            assert segment_id not in seen
            seen.add(segment_id)
            np.testing.assert_array_equal(inputs[1:], targets[:-1])
            if number < len(row) - 1:
                whole = inputs[0] == 0 and targets[-1] == 1
                assert whole or len(inputs) <= share
                if whole:
                    assert len(inputs) - 1 in LENGTHS
    assert sorted(seen)[:100] == list(range(1, 101))


def test_a_document_longer_than_a_share_is_read_by_several_rows():
    chunks = Chunks([stored([40, 3])], 5)  # 41 targets in 9 chunks, 4 in one
    borders = document_runs(chunks, share=20)
    assert borders.tolist() == [0, 4, 8, 9, 10]


@_CARRIED
def test_seeds_have_other_orders(carry_state):
    rows = [
        take(text_dataset("stored", seed=seed, carry_state=carry_state).batches(4), 9)
        for seed in range(3)
    ]
    assert len({np.stack([batch["targets"] for batch in row]).tobytes() for row in rows}) == 3


def test_the_tokens_of_a_step_follow_the_measured_fill():
    data = text_dataset("stored")
    batches = take(data.batches(4), 64)
    fill = np.mean([batch["segment_ids"] > 0 for batch in batches])
    assert 0.9 < fill < 1
    assert data._pipeline(4).fill() == pytest.approx(fill, abs=1e-9)
    assert data.tokens_per_step(4) == pytest.approx(64 * fill, rel=1e-9)
    assert data.tokens_per_epoch == _TARGETS
    assert text_dataset("stored", carry_state=True).tokens_per_step(4) == 64


def test_another_stage_goes_on_behind_what_was_read():
    """To a window or two where they are not packed together."""
    data = text_dataset("stored", packing_windows=1)
    before = data.batches(4)
    seen = {target for batch in take(before, 9) for target in batch["targets"].flat}
    after = data.batches(4, read=before.progress())
    assert after.progress() == pytest.approx(before.progress(), abs=0.002)
    again = {target for batch in take(after, 9) for target in batch["targets"].flat}
    assert len(seen & again) < 20 < len(seen) / 9
    longer = text_dataset("stored", seq_len=48, carry_state=True)
    assert longer.batches(2, read={"epochs": 1.5}).progress() == pytest.approx(
        {"epochs": 1.5}, abs=0.01
    )


def test_what_a_corpus_and_a_batch_must_hold():
    with refused("batch", _TARGETS, "8 x 1024"):
        text_dataset("stored", seq_len=1024).batches(8)
    with refused("config.data.shards is 3", 8):
        text_dataset("stored", shards=3).batches(8)
    for batch_size, processes in ((8, 3), (12, 8)):
        with refused("train.batch_size", batch_size, processes):
            text_dataset("stored").batches(batch_size, process_index=0, process_count=processes)


def test_the_longest_documents_of_what_is_held_out_or_of_the_training_text():
    (store,) = SOURCES["stored"]
    for data in (text_dataset("stored"), text_dataset("less", validation=store)):
        targets = data.longest(2, 100)["targets"]
        assert targets.shape == (2, 100)
        np.testing.assert_array_equal(targets[0], store.tokens[-401:-301])
    assert text_dataset("stored").evaluators == ()


# Mixtures.


def _share_of_first(batches):
    border = sum(LENGTHS[:80]) + 2
    tokens = np.concatenate([b["inputs"][b["inputs"] > 1] for b in batches])
    return np.mean(tokens < border)


@pytest.mark.parametrize("weights", [(3, 1), (1, 4), (0, 2)])
def test_shares_of_tokens_are_the_weights(weights):
    batches = take(text_dataset("two stored", weights=weights).batches(4), 100)
    share = weights[0] / sum(weights)
    assert _share_of_first(batches) == pytest.approx(share, abs=0.02)


def test_weights_change_at_their_step_and_shares_are_counted_from_there():
    stages = ((1, (1, 0)), (41, (0, 1)), (61, (1, 1)))
    iterator = text_dataset("two stored", weights=stages).batches(4)
    shares = [_share_of_first([batch]) for batch in take(iterator, 100)]
    assert shares[:40] == [1] * 40
    assert shares[40:60] == [0] * 20
    assert np.mean(shares[60:]) == pytest.approx(0.5, abs=0.03)
    assert set(iterator.metrics()) == {"epochs of a", "epochs of b"}


def test_two_sources_are_exact_to_one_row():
    tokens = [0, 0]
    for length in np.random.default_rng(0).integers(1, 17, 2000).tolist():
        tokens[next_source((0.3, 0.7), tokens)] += length
        assert abs(tokens[0] - 0.3 * sum(tokens)) <= 16


@pytest.mark.parametrize(
    "weights",
    [
        (1,),
        (3, -1),
        (3, float("nan")),
        (0, 0),
        ((2, (1, 1)),),
        ((1, (1, 1)), (1, (2, 1))),
        ((1, (1, 1)), (9, (1, 1)), (5, (1, 2))),
    ],
)
def test_weights_that_make_no_sense(weights):
    with refused("config.data.weights"):
        text_dataset("two stored", weights=weights).batches(4)


def test_weights_need_packed_rows():
    with refused("config.data.weights", "carry_state"):
        text_dataset("two stored", weights=(1, 1), carry_state=True).batches(4)
