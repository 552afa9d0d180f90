"""A task as the data of a run: rows of fresh examples to train on, the same ones to score."""

import itertools
from collections import Counter

import numpy as np
import pytest

from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.tasks.parity import Parity
from mmrec_jax.data.tasks.scoring import scoring_pieces
from mmrec_jax.data.tasks.task import Example, Task
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.data.tasks.training import ExampleStream
from tests.small_data import config_of, data_config, refused, take

_FIRST = 2  # the id of a task's first symbol


def dataset(source="parity", **fields):
    task = {"max_length": 10, "eval_lengths": (5, 30), "tokenizer__kind": "char"}
    train = {"train__batch_size": 4, "train__sample_tokens": 0}
    config = config_of(source, **{"seq_len": 20, **task, **train, **fields})
    config.data.check(config)
    return TaskDataset(config.data)


def stream(seed=4, seq_len=30, min_length=2, max_length=9):
    lengths = {"min_length": min_length, "max_length": max_length}
    config = data_config("parity", seq_len=seq_len, seed=seed, **lengths)
    return ExampleStream(Parity(), config, range(8), _FIRST)


def test_rows_hold_whole_examples_as_segments_then_padding():
    lengths = Counter()
    for batch in take(stream(), 100):
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        for inputs, targets, segment_ids, weights in zip(*(batch[n] for n in DTYPES), strict=True):
            used = np.count_nonzero(segment_ids)
            assert segment_ids[:used].tolist() == sorted(segment_ids[:used])
            assert set(segment_ids[:used]) == {1, 2, 3}  # 30 // 9 examples a row
            for segment in (1, 2, 3):
                bits = inputs[segment_ids == segment] - _FIRST
                lengths[len(bits)] += 1
                answers = np.cumsum(bits) % 2 + _FIRST
                np.testing.assert_array_equal(targets[segment_ids == segment], answers)
            np.testing.assert_array_equal(weights, segment_ids > 0)
            assert not inputs[used:].any()
            assert not targets[used:].any()
    # Uniform between the bounds: five standard deviations of a binomial count.
    assert sorted(lengths) == list(range(2, 10))
    mean = 100 * 8 * 3 / 8
    assert all(abs(count - mean) < 5 * np.sqrt(mean) for count in lengths.values())


def test_examples_are_fresh_every_step_in_every_row_and_for_every_seed():
    seen = [
        row.tobytes()
        for seed in (0, 1, 2**32 - 1)
        for batch in take(stream(seed, seq_len=40, min_length=40, max_length=40), 30)
        for row in batch["inputs"]
    ]
    assert len(set(seen)) == len(seen) == 3 * 30 * 8


def test_tokens_are_the_symbols_of_the_task():
    data = dataset()
    assert data.tokenizer.vocab_size == 4
    batch = next(data.batches(4))
    used = batch["segment_ids"][0] == 1
    text, said = (data.tokenizer.decode(batch[n][0][used]) for n in ("inputs", "targets"))
    assert set(text) <= {"0", "1"}
    assert len(text) == len(said) == used.sum()
    assert said[-1] == str(text.count("1") % 2)
    piece, _ = next(data.scoring(30, 2))
    assert set(data.tokenizer.decode(piece["inputs"][0])) == {"0", "1"}


def test_a_length_in_tokens_is_that_of_the_mean_example():
    data = dataset()
    steps = data.steps_for(4, tokens=20_000)
    assert steps == 20_000 / (4 * 2 * 5.5) // 1 + 1  # 2 examples a row of 1 to 10 tokens
    read = sum(np.count_nonzero(batch["segment_ids"]) for batch in take(data.batches(4), steps))
    assert abs(read / 20_000 - 1) < 0.05
    with refused("config.train.epochs"):
        data.steps_for(4, epochs=2.0)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_length": 21}, ("config.data.max_length is 21", "seq_len = 20")),
        ({"tokenizer__kind": "byte"}, ("config.tokenizer.kind", "byte", "char")),
        ({"train__sample_tokens": 8}, ("config.train.sample_tokens is 8",)),
        ({"train__carry_state": True}, ("config.train.carry_state is True",)),
        ({"train__eval_batches": 3}, ("config.train.eval_batches is 3", "data.eval_sequences")),
        # 4 pairs need 16 tokens.
        ({"source": "mqar", "pairs": 4, "eval_lengths": (16,)}, ("config.data.min_length",)),
        (
            {"source": "mqar", "pairs": 2, "min_length": 8, "eval_lengths": (7,)},
            ("config.data.eval_lengths",),
        ),
    ],
)
def test_what_does_not_suit_a_task_is_refused_by_name(change, named):
    with refused(change.get("source", "parity"), *named):
        dataset(**change)
    mqar = {"pairs": 2, "min_length": 8, "eval_lengths": (8,)}
    assert dataset("mqar", **mqar).task.min_length == 8


# Scoring.


def sequences_of(pieces, batch_size, length, seq_len):
    """Whole sequences: a list of (inputs, targets, segment_ids, weights, final), each [length]."""
    pieces = list(pieces)
    per_group = -(-length // seq_len)
    assert len(pieces) % per_group == 0
    sequences = []
    for start in range(0, len(pieces), per_group):
        group = pieces[start : start + per_group]
        arrays = [np.concatenate([batch[n] for batch, _ in group], axis=1) for n in DTYPES]
        arrays.append(np.concatenate([final for _, final in group], axis=1))
        for row in range(batch_size):
            assert not any(array[row, length:].any() for array in arrays)
            if arrays[2][row].any():
                sequences.append([array[row, :length] for array in arrays])
            else:
                assert not any(array[row].any() for array in arrays)
    return sequences


@pytest.mark.parametrize(
    ("length", "count", "batch_size", "seq_len"),
    [(10, 5, 2, 4), (8, 3, 4, 8), (1, 4, 4, 16), (33, 7, 3, 32)],
)
def test_every_sequence_once_in_chunks_of_one_shape(length, count, batch_size, seq_len):
    pieces = list(scoring_pieces(Parity(), length, count, batch_size, seq_len, _FIRST))
    for batch, final in pieces:
        assert {name: array.dtype for name, array in batch.items()} == DTYPES
        assert {array.shape for array in (*batch.values(), final)} == {(batch_size, seq_len)}
    sequences = sequences_of(pieces, batch_size, length, seq_len)
    assert len(sequences) == count
    for number, (inputs, targets, segment_ids, weights, final) in enumerate(sequences):
        np.testing.assert_array_equal(targets - _FIRST, np.cumsum(inputs - _FIRST) % 2)
        assert (weights == 1).all()
        assert final.nonzero()[0].tolist() == [length - 1]
        # One id a group of rows, another one for the next: that is what begins a sequence.
        assert set(segment_ids.tolist()) == {number // batch_size + 1}


def test_the_sequences_depend_on_the_length_alone():
    def inputs(length, count, batch_size, seq_len):
        pieces = scoring_pieces(Parity(), length, count, batch_size, seq_len, _FIRST)
        return [each[0].tolist() for each in sequences_of(pieces, batch_size, length, seq_len)]

    assert inputs(20, 6, 6, 20) == inputs(20, 6, 4, 7)
    assert inputs(20, 3, 6, 20) == inputs(20, 6, 6, 20)[:3]
    assert inputs(19, 1, 6, 20)[0] != inputs(20, 1, 6, 20)[0][:19]
    assert len({tuple(each) for each in inputs(40, 64, 8, 40)}) == 64


class _AsksInTheMiddle(Task):
    name, symbols, min_length = "middle", "ab", 3

    def example(self, rng, length):
        weights = np.zeros(length)
        weights[[0, length // 2]] = 0.5
        return Example(rng.integers(0, 2, length), np.ones(length, int), weights)


def test_the_final_answer_is_the_last_one_with_a_weight():
    (sequence,) = sequences_of(scoring_pieces(_AsksInTheMiddle(), 9, 1, 1, 4, _FIRST), 1, 9, 4)
    assert sequence[-1].nonzero()[0].tolist() == [4]
    assert sequence[3].tolist() == [0.5, 0, 0, 0, 0.5, 0, 0, 0, 0]


def test_the_longest_are_the_first_that_are_scored():
    data = dataset()
    (first, _), (second, _) = itertools.islice(data.scoring(30, 3), 2)
    for name, array in data.longest(rows=3, length=100).items():
        expected = np.concatenate([first[name], second[name]], axis=1)[:, :30]
        np.testing.assert_array_equal(array, expected)
    assert data.longest(rows=1000, length=7)["inputs"].shape == (256, 7)
