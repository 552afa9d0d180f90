import dataclasses
import itertools
import json

import numpy as np
import pytest

from mmrec_jax.config import Config, DataConfig, TaskConfig, TokenizerConfig, TrainConfig
from mmrec_jax.data.batch import DTYPES
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.errors import UserError

_CONFIG = Config(
    data=DataConfig(source="parity", seq_len=20),
    task=TaskConfig(max_length=10, eval_lengths=(5, 30)),
    tokenizer=TokenizerConfig(kind="char"),
    train=TrainConfig(steps=5, batch_size=4, sample_tokens=0),
)


def _changed(**values):
    config = _CONFIG
    for name, value in values.items():
        group, field = name.split("__")
        inner = dataclasses.replace(getattr(config, group), **{field: value})
        config = dataclasses.replace(config, **{group: inner})
    return config


def test_tokens_are_the_symbols_of_the_task():
    data = TaskDataset(_CONFIG)
    assert data.tokenizer.vocab_size == 4
    batch = next(data.batches(4))
    (bits,), (answers,) = (batch[name][:1] for name in ("inputs", "targets"))
    used = batch["segment_ids"][0] == 1
    text, said = data.tokenizer.decode(bits[used]), data.tokenizer.decode(answers[used])
    assert set(text) <= {"0", "1"}
    assert len(text) == len(said) == used.sum()
    assert said[-1] == str(text.count("1") % 2)
    piece, _ = next(data.scoring(30, 2))
    assert set(data.tokenizer.decode(piece["inputs"][0])) == {"0", "1"}


def test_processes_share_the_rows():
    whole = next(TaskDataset(_CONFIG).batches(4))
    parts = [
        next(TaskDataset(_CONFIG).batches(4, process_index=i, process_count=2)) for i in (0, 1)
    ]
    for name in DTYPES:
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), whole[name])
    with pytest.raises(UserError, match=r"train\.batch_size is 4; .* multiple of .* processes, 3"):
        TaskDataset(_CONFIG).batches(4, process_count=3)


def test_a_position_continues_only_the_same_data():
    iterator = TaskDataset(_CONFIG).batches(4)
    next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    expected = next(iterator)
    again = TaskDataset(_CONFIG).batches(4)
    again.set_state(state)
    np.testing.assert_array_equal(next(again)["inputs"], expected["inputs"])
    for change, message in (
        ({"data__seed": 1}, r"data\.seed \(saved 0, now 1\)"),
        ({"task__max_length": 9}, r"task\.max_length \(saved 10, now 9\)"),
    ):
        with pytest.raises(UserError, match=f"belongs to other data: {message}"):
            TaskDataset(_changed(**change)).batches(4).set_state(state)


def test_a_position_continues_only_the_same_task():
    state = TaskDataset(_changed(data__source="modular")).batches(4).get_state()
    other = TaskDataset(_changed(data__source="modular", task__modulus=5)).batches(4)
    with pytest.raises(UserError, match=r"other data: task\.modulus \(saved 3, now 5\)"):
        other.set_state(state)


def test_a_length_in_tokens_is_that_of_the_mean_example():
    data = TaskDataset(_CONFIG)
    steps = data.steps_for(4, tokens=20_000)
    assert steps == 20_000 / (4 * 2 * 5.5) // 1 + 1  # 2 examples a row of 1 to 10 tokens
    iterator = data.batches(4)
    read = sum(np.count_nonzero(next(iterator)["segment_ids"]) for _ in range(steps))
    assert abs(read / 20_000 - 1) < 0.05
    with pytest.raises(UserError, match=r"config\.train\.epochs is 2\.0; .*every example is new"):
        data.steps_for(4, epochs=2.0)


def test_the_longest_are_the_first_that_are_scored():
    data = TaskDataset(_CONFIG)
    (first, _), (second, _) = itertools.islice(data.scoring(30, 3), 2)
    longest = data.longest(rows=3, length=100)
    for name, array in longest.items():
        assert array.shape == (3, 30)
        expected = np.concatenate([first[name], second[name]], axis=1)[:, :30]
        np.testing.assert_array_equal(array, expected)
    assert data.longest(rows=1000, length=7)["inputs"].shape == (256, 7)


def test_it_says_what_it_is():
    assert TaskDataset(_CONFIG).describe() == (
        "parity, fresh examples of 1 to 10 tokens (4 in the vocabulary); "
        "scored on 256 sequences each of 5, 30 tokens"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"task__max_length": 21}, r"task\.max_length is 21; .*data\.seq_len = 20"),
        ({"tokenizer__kind": "byte"}, r'tokenizer\.kind is .byte.; .*"char"'),
        ({"train__sample_tokens": 8}, r"train\.sample_tokens is 8; .*no text to write"),
        ({"train__carry_state": True}, r"train\.carry_state is True; .*longer than a row"),
        ({"train__eval_batches": 3}, r"train\.eval_batches is 3; .*task\.eval_sequences"),
    ],
)
def test_what_does_not_suit_a_task_is_refused_by_name(change, expected):
    expected = expected.replace("; ", '; with config.data.source "parity" it must be ')
    with pytest.raises(UserError, match=rf"config\.{expected}"):
        TaskDataset(_changed(**change))


@pytest.mark.parametrize("field", ["min_length", "eval_lengths"])
def test_lengths_shorter_than_the_task_allows_are_refused(monkeypatch, field):
    monkeypatch.setattr("mmrec_jax.data.tasks.parity.Parity.min_length", 3)
    bad = {"min_length": 2, "eval_lengths": (30, 2)}
    fine = {"min_length": 3, "eval_lengths": (30, 3)}
    values = {f"task__{name}": (bad if name == field else fine)[name] for name in fine}
    with pytest.raises(UserError, match=rf"config\.task\.{field} is .* at least 3"):
        TaskDataset(_changed(**values))


def test_the_length_of_mqar_depends_on_its_pairs():
    lengths = {"task__min_length": 8, "task__eval_lengths": (8,), "task__pairs": 2}
    mqar = {"data__source": "mqar", **lengths}
    assert TaskDataset(_changed(**mqar)).task.min_length == 8
    with pytest.raises(UserError, match=r'task\.min_length is 8; .*"mqar" it must be at least 12'):
        TaskDataset(_changed(**{**mqar, "task__pairs": 3}))
