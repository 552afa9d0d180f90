"""A task as the data of a run: rows of fresh examples to train on, the same ones to score."""

import itertools
from collections import Counter

import numpy as np
import pytest

from mmrec_jax.data.batch import DTYPES
from tests.small_data import assert_resumable, config_of, refused, take

_FIRST = 2  # the id of a task's first symbol


def dataset(source="parity", **fields):
    task = {"max_length": 10, "eval_lengths": (5, 30), "tokenizer__kind": "char"}
    train = {"train__batch_size": 4, "train__sample_tokens": 0}
    config = config_of(source, **{"seq_len": 20, **task, **train, **fields})
    config.data.check(config)
    return config.data.open(config, "")


def test_rows_hold_whole_examples_as_segments_then_padding():
    lengths, seen = Counter(), set()
    for seed in (0, 2**32 - 1):
        stream = dataset(seq_len=30, min_length=2, max_length=9, seed=seed).batches(8)
        for batch in take(stream, 50):
            assert {name: array.dtype for name, array in batch.items()} == DTYPES
            seen |= {row.tobytes() for row in batch["inputs"]}
            np.testing.assert_array_equal(batch["weights"], batch["segment_ids"] > 0)
            for inputs, targets, ids, _ in zip(*(batch[n] for n in DTYPES), strict=True):
                used = np.count_nonzero(ids)
                assert ids[:used].tolist() == sorted(ids[:used])
                assert set(ids[:used]) == {1, 2, 3}  # 30 // 9 examples a row
                assert not inputs[used:].any()
                assert not targets[used:].any()
                for segment in (1, 2, 3):
                    bits = inputs[ids == segment] - _FIRST
                    lengths[len(bits)] += 1
                    answers = np.cumsum(bits) % 2 + _FIRST
                    np.testing.assert_array_equal(targets[ids == segment], answers)
    # Uniform between the bounds: five standard deviations of a binomial count.
    assert sorted(lengths) == list(range(2, 10))
    mean = 100 * 8 * 3 / 8
    assert all(abs(count - mean) < 5 * np.sqrt(mean) for count in lengths.values())
    assert len(seen) > 780  # fresh in every row, step and seed; short ones may be alike


def test_a_position_continues_in_any_number_of_processes_and_in_no_other_task():
    def make(index, count):
        return dataset().batches(4, process_index=index, process_count=count)

    assert_resumable(make, steps=8, every=3, processes=(1, 2))
    with refused("task.max_length (saved 10, now 9)"):
        dataset(max_length=9).batches(4).set_state(make(0, 1).get_state())
    with refused("config.train.batch_size is 4", 3):
        make(0, 3)


def test_another_stage_goes_on_behind_what_was_read():
    before = dataset().batches(4)
    take(before, 3)
    after = dataset(seq_len=30).batches(2, read=before.progress())
    assert after.progress() == {"steps": 3}
    assert next(after)["inputs"].shape == (2, 30)
    again = dataset().batches(4, read=before.progress())
    np.testing.assert_array_equal(next(again)["inputs"], next(before)["inputs"])


def test_the_tokens_of_a_step_are_those_of_mean_examples():
    assert dataset().tokens_per_step(4) == 4 * 2 * 5.5  # 2 examples a row of 1 to 10 tokens


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_length": 21}, ("config.data.max_length is 21", "seq_len = 20")),
        ({"tokenizer__kind": "byte"}, ("config.tokenizer.kind", "byte", "char")),
        ({"train__sample_tokens": 8}, ("config.train.sample_tokens is 8",)),
        ({"train__carry_state": True}, ("config.train.carry_state is True",)),
        # 2 pairs need 8 tokens.
        ({"source": "mqar", "pairs": 2}, ("config.data.min_length",)),
        ({"source": "mqar", "pairs": 2, "min_length": 8}, ("config.data.eval_lengths",)),
    ],
)
def test_what_does_not_suit_a_task_is_refused_by_name(change, named):
    with refused(change.get("source", "parity"), *named):
        dataset(**change)
    with refused("config.data.pairs is 128", 127, 256):
        dataset("mqar", pairs=128)


def sequences_of(data, length, rows):
    """Whole sequences: a list of (inputs, targets, segment_ids, weights, final), each [length]."""
    chunks, seq_len = list(data.scoring(length, rows)), data.config.seq_len
    for batch, final in chunks:
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        assert {array.shape for array in (*batch.values(), final)} == {(rows, seq_len)}
    sequences, each = [], -(-length // seq_len)
    for group in (chunks[i : i + each] for i in range(0, len(chunks), each)):
        arrays = [np.concatenate([batch[n] for batch, _ in group], axis=1) for n in DTYPES]
        arrays.append(np.concatenate([final for _, final in group], axis=1))
        assert not any(array[:, length:].any() for array in arrays)
        real = arrays[2].any(axis=1)
        assert not any(array[~real].any() for array in arrays)
        sequences += zip(*(array[real, :length] for array in arrays), strict=True)
    return sequences


@pytest.mark.parametrize(
    ("length", "count", "rows", "seq_len"), [(10, 5, 2, 4), (8, 3, 4, 8), (33, 7, 3, 32)]
)
def test_every_sequence_once_in_chunks_of_one_shape(length, count, rows, seq_len):
    data = dataset(seq_len=seq_len, max_length=4, eval_sequences=count)
    sequences = sequences_of(data, length, rows)
    assert len(sequences) == count
    for number, (inputs, targets, segment_ids, weights, final) in enumerate(sequences):
        np.testing.assert_array_equal(targets - _FIRST, np.cumsum(inputs - _FIRST) % 2)
        assert (weights == 1).all()
        assert final.nonzero()[0].tolist() == [length - 1]
        # One id a group of rows, another one for the next: that is what begins a sequence.
        assert set(segment_ids.tolist()) == {number // rows + 1}
        written = data.tokenizer.decode(inputs)
        assert written == "".join(str(bit) for bit in inputs - _FIRST)


def test_the_sequences_depend_on_the_length_alone():
    def inputs(length, count, rows, seq_len):
        data = dataset(seq_len=seq_len, max_length=4, eval_sequences=count)
        return [each[0].tolist() for each in sequences_of(data, length, rows)]

    assert inputs(20, 6, 6, 20) == inputs(20, 6, 4, 7)
    assert inputs(20, 3, 6, 20) == inputs(20, 6, 6, 20)[:3]
    assert inputs(19, 1, 6, 20)[0] != inputs(20, 1, 6, 20)[0][:19]
    assert len({tuple(each) for each in inputs(40, 64, 8, 40)}) == 64


def test_the_final_answer_is_the_last_one_with_a_weight():
    data = dataset("mqar", pairs=2, min_length=8, max_length=20, eval_lengths=(21,))
    for _, _, _, weights, final in sequences_of(data, 21, 8):
        assert final.nonzero()[0].tolist() == [weights.nonzero()[0][-1]]


def test_the_longest_are_the_first_that_are_scored():
    data = dataset()
    (first, _), (second, _) = itertools.islice(data.scoring(30, 3), 2)
    for name, array in data.longest(rows=3, length=100).items():
        expected = np.concatenate([first[name], second[name]], axis=1)[:, :30]
        np.testing.assert_array_equal(array, expected)
    assert data.longest(rows=1000, length=7)["inputs"].shape == (256, 7)
