"""What every task promises."""

from typing import get_args, get_type_hints

import numpy as np
import pytest

from mmrec_jax.config import DataConfig
from mmrec_jax.data.tasks.registry import TASKS


@pytest.fixture(params=sorted(TASKS))
def task(request):
    return TASKS[request.param](DataConfig())


def test_tasks_are_sources_under_their_own_name(task):
    assert task.name in get_args(get_type_hints(DataConfig)["source"])
    assert TASKS[task.name](DataConfig()).name == task.name


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
