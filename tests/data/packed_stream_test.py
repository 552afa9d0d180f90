"""Sources with weights; what else the stream does is seen through `pipeline_test.py`."""

import dataclasses
import json

import numpy as np
import pytest

from mmrec_jax.data.packed_stream import PackedStream
from mmrec_jax.errors import UserError

_LENGTHS = [11, 30, 7, 19] * 12 + [5, 64, 23] * 10
_FIRST = 48  # documents of the first source


@pytest.fixture(scope="module")
def store(make_store):
    return dataclasses.replace(
        make_store(_LENGTHS), sources=(("a", _FIRST), ("b", len(_LENGTHS) - _FIRST))
    )


def stream_of(store, weights, rows=range(4)):
    return PackedStream(store, 16, 4, rows, group=20, seed=3, weights=weights)


def tokens_by_source(store, batches):
    border = store.offsets[_FIRST]
    targets = np.concatenate([b["targets"][b["segment_ids"] > 0] for b in batches])
    first = int(np.sum(store.tokens[border] >= targets))
    return np.array([first, len(targets) - first])


@pytest.mark.parametrize(("weights", "share"), [("3,1", 0.75), ("1,4", 0.2), ("0,2", 0.0)])
def test_shares_of_tokens_are_the_weights(store, weights, share):
    stream = stream_of(store, weights)
    taken = tokens_by_source(store, [next(stream) for _ in range(150)])
    assert taken[0] / taken.sum() == pytest.approx(share, abs=0.02)


def test_weights_change_at_their_step(store):
    stream = stream_of(store, "1,0; 41: 0,1")
    batches = [next(stream) for _ in range(100)]
    assert tokens_by_source(store, batches[:40])[1] == 0
    # The group of windows that is being read keeps its weights.
    assert tokens_by_source(store, batches[46:])[0] == 0


def test_shares_are_counted_anew_from_the_step_of_their_change(store):
    stream = stream_of(store, "1,0; 41: 1,1")
    batches = [next(stream) for _ in range(100)]
    taken = tokens_by_source(store, batches[46:])
    assert taken[0] / taken.sum() == pytest.approx(0.5, abs=0.03)


def test_every_window_of_a_source_once_in_its_epoch(store):
    stream = stream_of(store, "2,1")
    counts = np.zeros(len(store.tokens) + 2, int)
    for _ in range(200):
        batch = next(stream)
        np.add.at(counts, batch["targets"][batch["segment_ids"] > 0], 1)
    first = counts[store.tokens[1 : store.offsets[_FIRST]]]
    first = first[first > 0]
    epochs = stream.metrics()["epochs of a"]
    assert epochs > 2
    # As often as any other, or once more; the group may be half read.
    assert first.max() - first.min() <= 2
    assert first.mean() == pytest.approx(epochs, abs=0.3)


def test_a_continued_mixture_is_the_uninterrupted_one_on_any_number_of_processes(store):
    whole = stream_of(store, "3,1; 9: 1,3; 20: 0,1")
    states, batches = [], []
    for _ in range(40):
        states.append(json.dumps(whole.get_state()))
        batches.append(next(whole))
    for stop in range(35):
        parts = [stream_of(store, "3,1; 9: 1,3; 20: 0,1", range(a, a + 2)) for a in (0, 2)]
        for part in parts:
            next(part)
            part.set_state(json.loads(states[stop]))
        for batch in batches[stop : stop + 5]:
            read = [next(part) for part in parts]
            for name, rows in batch.items():
                np.testing.assert_array_equal(np.concatenate([r[name] for r in read]), rows)


def test_weights_of_another_number_of_sources_are_refused(store):
    with pytest.raises(UserError, match=r"config\.data\.train has 2 sources, but '1,2,3' has 3"):
        stream_of(store, "1,2,3")
