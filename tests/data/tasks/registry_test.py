"""What every task promises."""

import dataclasses
from typing import get_args, get_type_hints

import numpy as np
import pytest

from mmrec_jax.config import DataConfig, TaskConfig
from mmrec_jax.data.tasks.registry import TASKS, make_task
from mmrec_jax.errors import UserError

_VALUES = {"vocab_size": 10, "pairs": 4, "min_pairs": 2, "modulus": 7, "hops": 3}


@pytest.fixture(params=sorted(TASKS))
def task(request):
    fields = TASKS[request.param].fields
    return make_task(request.param, TaskConfig(**{name: _VALUES[name] for name in fields}))


def test_tasks_are_sources_under_their_own_name(task):
    assert task.name in get_args(get_type_hints(DataConfig)["source"])
    assert type(task) is TASKS[task.name]


def test_every_field_but_the_lengths_belongs_to_a_task():
    fields = {field.name for field in dataclasses.fields(TaskConfig)}
    lengths = {"min_length", "max_length", "eval_lengths", "eval_sequences"}
    assert {name for task in TASKS.values() for name in task.fields} == fields - lengths


@pytest.mark.parametrize(
    ("source", "field"), [("parity", "modulus"), ("modular", "vocab_size"), ("induction", "pairs")]
)
def test_a_field_of_another_task_is_refused(source, field):
    config = TaskConfig(**{field: _VALUES[field]})
    expected = rf'config\.task\.{field} is {_VALUES[field]}; .*"{source}" does not use it: leave'
    with pytest.raises(UserError, match=expected):
        make_task(source, config)


def test_symbols_are_different_characters_in_ascending_order(task):
    assert list(task.symbols) == sorted(set(task.symbols))


def test_examples_have_exactly_the_length_and_only_known_symbols(task):
    for length in (task.min_length, task.min_length + 1, 64, 257):
        example = task.example(np.random.default_rng(length), length)
        for array in (example.inputs, example.targets, example.weights):
            assert array.shape == (length,)
        for symbols in (example.inputs, example.targets):
            assert symbols.dtype.kind == "i"
            assert 0 <= symbols.min() <= symbols.max() < len(task.symbols)
        assert (example.weights >= 0).all()
        assert (example.weights > 0).any()


def test_examples_depend_on_the_random_numbers_alone(task):
    def draw(seed):
        example = task.example(np.random.default_rng(seed), 64)
        return [array.tolist() for array in (example.inputs, example.targets, example.weights)]

    assert draw(1) == draw(1)
    assert draw(1)[0] != draw(2)[0]
