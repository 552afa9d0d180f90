import itertools
import json
from collections import Counter

import numpy as np

from mmrec_jax.config import DataConfig, TaskConfig
from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.tasks.parity import Parity
from mmrec_jax.data.tasks.training import ExampleStream

_CONFIG = DataConfig(source="parity", seq_len=30, seed=4)
_LENGTHS = TaskConfig(min_length=2, max_length=9)
_FIRST = 2


def _stream(rows=range(8), config=_CONFIG, lengths=_LENGTHS):
    return ExampleStream(Parity(), config, lengths, rows, _FIRST)


def _take(stream, count):
    return list(itertools.islice(iter(stream.__next__, None), count))


def _assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        for name in DTYPES:
            np.testing.assert_array_equal(a[name], b[name])


def test_rows_hold_whole_examples_as_segments_then_padding():
    for batch in _take(_stream(), 20):
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        for inputs, targets, segment_ids, weights in zip(*(batch[n] for n in DTYPES), strict=True):
            used = np.count_nonzero(segment_ids)
            assert segment_ids[:used].tolist() == sorted(segment_ids[:used])
            assert set(segment_ids[:used]) == {1, 2, 3}  # 30 // 9 examples a row
            for segment in (1, 2, 3):
                bits = inputs[segment_ids == segment] - _FIRST
                assert 2 <= len(bits) <= 9
                answers = [int(sum(bits[: n + 1])) % 2 for n in range(len(bits))]
                assert (targets[segment_ids == segment] - _FIRST).tolist() == answers
            np.testing.assert_array_equal(weights, segment_ids > 0)
            assert not inputs[used:].any()
            assert not targets[used:].any()


def test_lengths_are_uniform_between_the_bounds():
    counts = Counter()
    for batch in _take(_stream(), 150):
        for row, segment in itertools.product(batch["segment_ids"], (1, 2, 3)):
            counts[np.count_nonzero(row == segment)] += 1
    assert sorted(counts) == list(range(2, 10))
    mean = 150 * 8 * 3 / 8
    # Five standard deviations of a binomial count.
    assert all(abs(count - mean) < 5 * np.sqrt(mean) for count in counts.values())


def test_examples_are_fresh_every_step_in_every_row_and_for_every_seed():
    def rows(seed):
        config = DataConfig(source="parity", seq_len=40, seed=seed)
        stream = _stream(config=config, lengths=TaskConfig(min_length=40))
        return [row.tobytes() for batch in _take(stream, 30) for row in batch["inputs"]]

    seen = rows(0) + rows(1) + rows(-1)
    assert len(set(seen)) == len(seen) == 3 * 30 * 8


def test_a_resumed_stream_is_the_uninterrupted_one():
    batches = _take(_stream(), 12)
    stream = _stream()
    for stop in (0, 1, 7):
        stream.set_state({"step": 0})
        _take(stream, stop)
        state = json.loads(json.dumps(stream.get_state()))
        _take(stream, 2)
        resumed = _stream()
        resumed.set_state(state)
        _assert_same(_take(resumed, 5), batches[stop : stop + 5])


def test_processes_read_their_rows_of_the_one_batch():
    whole = _take(_stream(), 3)
    parts = [_take(_stream(rows), 3) for rows in (range(4), range(4, 8))]
    joined = [
        {name: np.concatenate([part[step][name] for part in parts]) for name in DTYPES}
        for step in range(3)
    ]
    _assert_same(joined, whole)
