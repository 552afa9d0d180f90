"""Every task by its definition, and what all of them promise."""

import dataclasses
import itertools
import unicodedata
from collections import Counter

import numpy as np
import pytest

from mmrec_jax.data.kinds.registry import DATA_KINDS
from mmrec_jax.data.kinds.tasks import MqarConfig
from mmrec_jax.data.tasks.alphabet import alphabet
from mmrec_jax.data.tasks.induction import Induction
from mmrec_jax.data.tasks.k_hop import KHop
from mmrec_jax.data.tasks.modular import Modular
from mmrec_jax.data.tasks.mqar import MultiQueryRecall
from mmrec_jax.data.tasks.needle import Needle
from mmrec_jax.data.tasks.parity import Parity
from mmrec_jax.tokenizers.char import CharTokenizer
from tests.small_data import refused

_VALUES = {"vocab_size": 10, "pairs": 4, "min_pairs": 2, "modulus": 7, "hops": 3}


@pytest.fixture(params=["parity", "modular", "mqar", "induction", "k_hop", "needle"])
def task(request):
    kind = DATA_KINDS[request.param]
    fields = {field.name for field in dataclasses.fields(kind)} & _VALUES.keys()
    made = kind(**{name: _VALUES[name] for name in fields}).make_task()
    assert made.name == request.param
    return made


def draws(task, count, length, seed=7):
    rng = np.random.default_rng(seed)
    return [task.example(rng, length) for _ in range(count)]


def assert_uniform(drawn, outcomes):
    """Each outcome is about as frequent as any other: five standard deviations of a count."""
    counts = Counter(drawn)
    assert sorted(counts) == sorted(outcomes)
    mean = counts.total() / len(counts)
    assert all(abs(count - mean) < 5 * np.sqrt(mean) for count in counts.values())


def test_every_task_is_a_kind_of_data_with_symbols_of_its_own(task):
    config = DATA_KINDS[task.name]()
    assert config.evaluators == ("task",)
    assert config.prompt_style == "none"
    assert list(task.symbols) == sorted(set(task.symbols))


def test_examples_have_exactly_the_length_and_only_known_symbols(task):
    for length in (task.min_length, task.min_length + 1, 64, 257):
        (example,) = draws(task, 1, length, seed=length)
        for array in (example.inputs, example.targets, example.weights):
            assert array.shape == (length,)
        for symbols in (example.inputs, example.targets):
            assert symbols.dtype.kind == "i"
            assert 0 <= symbols.min() <= symbols.max() < len(task.symbols)
        assert (example.weights >= 0).all()
        assert (example.weights > 0).any()


def test_examples_depend_on_the_random_numbers_alone(task):
    def draw(seed):
        (example,) = draws(task, 1, 64, seed)
        return [array.tolist() for array in (example.inputs, example.targets, example.weights)]

    assert draw(1) == draw(1)
    assert draw(1)[0] != draw(2)[0]


@pytest.mark.parametrize("size", [2, 10, 62, 63, 257, 20_001])
def test_symbols_survive_a_tokenizer_and_its_file(size):
    symbols = alphabet(size)
    assert len(symbols) == size
    assert list(symbols) == sorted(set(symbols))
    assert unicodedata.normalize("NFC", symbols) == symbols
    assert symbols.isprintable()
    assert symbols.startswith("0123456789AB"[:size])
    tokenizer = CharTokenizer.from_content(CharTokenizer(symbols).content, "file")
    assert tokenizer.encode(symbols).tolist() == list(range(2, 2 + size))


@pytest.mark.parametrize("modulus", [2, 3, 12])
def test_modular_and_parity_are_sums_so_far(modulus):
    for task in (Modular(modulus), *([Parity()] if modulus == 2 else [])):
        (example,) = draws(task, 1, 200)
        inputs = example.inputs.tolist()
        assert example.targets.tolist() == [sum(inputs[: n + 1]) % modulus for n in range(200)]
        assert (example.weights == 1).all()
        (long,) = draws(task, 1, 20_000)
        assert_uniform(long.inputs.tolist(), range(modulus))
        assert_uniform(itertools.pairwise(long.inputs.tolist()), pairs(modulus))


def pairs(size):
    return itertools.product(range(size), repeat=2)


def _hop_answer(inputs, position, hops):
    """By the definition, find(i) = max {j <= i : x[j - 1] = x[i]} k times; None if undefined."""
    for _ in range(hops):
        found = [j for j in range(1, position + 1) if inputs[j - 1] == inputs[position]]
        if not found:
            return None
        position = max(found)
    return inputs[position]


@pytest.mark.parametrize(("vocab_size", "hops"), [(4, 1), (4, 3), (5, 2), (9, 5)])
def test_k_hop_is_answered_by_its_definition(vocab_size, hops):
    task = KHop(vocab_size, hops)
    for length in (task.min_length, task.min_length + 20, 100):
        for example in draws(task, 5, length):
            inputs = example.inputs.tolist()
            answers = [_hop_answer(inputs, position, hops) for position in range(length)]
            assert example.weights.tolist() == [float(answer is not None) for answer in answers]
            for answer, target in zip(answers, example.targets.tolist(), strict=True):
                assert answer in (None, target)
    assert all(example.weights.any() for example in draws(task, 500, task.min_length))
    (long,) = draws(task, 1, 20_000)
    assert_uniform(
        itertools.pairwise(long.inputs.tolist()), [(a, b) for a, b in pairs(vocab_size) if a != b]
    )
    firsts = [int(example.inputs[0]) for example in draws(task, 500, task.min_length)]
    assert_uniform(firsts, range(vocab_size))


@pytest.mark.parametrize("length", [3, 4, 50])
def test_induction_asks_what_followed_the_trigger(length):
    for example in draws(Induction(7), 100, length):
        inputs = example.inputs.tolist()
        assert inputs.count(7) == 2
        assert inputs[-1] == 7
        assert example.targets[-1] == inputs[inputs.index(7) + 1] < 7
        assert example.weights.tolist() == [0] * (length - 1) + [1]
    examples = draws(Induction(7), 1000, length)
    assert_uniform([each.inputs.tolist().index(7) for each in examples], range(length - 2))
    assert_uniform([int(each.targets[-1]) for each in examples], range(7))


@pytest.mark.parametrize("length", [11, 12, 60])
def test_needle_asks_for_its_value_symbol_by_symbol(length):
    for example in draws(Needle(30), 100, length):
        inputs = example.inputs.tolist()
        depth, again = (position for position in range(length) if inputs[position] == 30)
        assert again == length - 5
        key, *value = inputs[depth + 1 : depth + 6]
        assert inputs[again + 1 :] == [key, *value[:3]]
        assert example.targets.tolist()[again + 1 :] == value
        assert example.weights.tolist() == [0] * (length - 4) + [1] * 4
    examples = draws(Needle(30), 1000, length)
    assert_uniform([each.inputs.tolist().index(30) for each in examples], range(length - 10))
    assert_uniform([n for each in examples for n in each.targets[-4:].tolist()], range(30))


# Multi-query associative recall.

_VOCAB, _PAIRS = 40, 6
_RECALL = MultiQueryRecall(_VOCAB, _PAIRS)


@pytest.mark.parametrize("length", [4 * _PAIRS, 4 * _PAIRS + 1, 64, 101])
def test_each_key_is_asked_for_once_and_answered_with_its_value(length):
    for example in draws(_RECALL, 100, length):
        inputs, targets = example.inputs.tolist(), example.targets.tolist()
        value_of = {inputs[2 * n]: inputs[2 * n + 1] for n in range(_PAIRS)}
        assert len(value_of) == len(set(value_of.values())) == _PAIRS
        assert all(1 <= key < _VOCAB // 2 for key in value_of)
        assert all(_VOCAB // 2 <= value < _VOCAB for value in value_of.values())
        asked = [position for position in range(length) if example.weights[position]]
        assert all(example.weights[position] == 1 for position in asked)
        assert all(position >= 2 * _PAIRS and position % 2 == 0 for position in asked)
        assert sorted(inputs[position] for position in asked) == sorted(value_of)
        assert all(targets[position] == value_of[inputs[position]] for position in asked)
    assert _RECALL.min_length == 4 * _PAIRS


def test_keys_values_and_filler_are_uniform():
    shown, examples = 2 * _PAIRS, draws(_RECALL, 1000, 40)
    keys = [key for each in examples for key in each.inputs[:shown:2].tolist()]
    values = [value for each in examples for value in each.inputs[1:shown:2].tolist()]
    filler = [n for e in examples for n in e.inputs[shown:][e.weights[shown:] == 0].tolist()]
    assert_uniform(keys, range(1, _VOCAB // 2))
    assert_uniform(values, range(_VOCAB // 2, _VOCAB))
    assert_uniform(filler, range(_VOCAB))
    assert max(np.flatnonzero(example.weights)[-1] for example in examples) == 38


def test_a_gap_follows_the_power_law():
    """The mean of log n is what a law n^(a - 1) is told by: here a itself to 0.01."""
    count, gaps = 10_000, 500
    number = np.arange(1, gaps + 1)
    law = 0.01 * number ** (0.01 - 1.0)
    law /= law.sum()
    mean = law @ np.log(number)
    spread = np.sqrt(law @ np.log(number) ** 2 - mean**2)
    task = MultiQueryRecall(_VOCAB, 1)
    asked = [np.flatnonzero(each.weights)[0] for each in draws(task, count, 2 + 2 * gaps)]
    seen = np.log((np.array(asked) - 2) // 2 + 1)
    assert abs(seen.mean() - mean) < 2 * spread / np.sqrt(count)


def test_gaps_are_drawn_one_after_the_other_without_replacement():
    count, gaps = 4_000, 5
    weight = np.arange(1, gaps + 1) ** -0.99
    weight /= weight.sum()
    both = np.zeros((gaps, gaps))  # probability of the first key's gap and the second's
    for first, second in itertools.permutations(range(gaps), 2):
        both[first, second] = weight[first] * weight[second] / (1 - weight[first])
    seen = np.zeros((gaps, gaps))
    for example in draws(MultiQueryRecall(_VOCAB, 2), count, 4 + 2 * gaps):
        inputs = example.inputs.tolist()
        gap = {inputs[p]: (p - 4) // 2 for p in np.flatnonzero(example.weights)}
        seen[gap[inputs[0]], gap[inputs[2]]] += 1
    assert (np.abs(seen - count * both) <= 4 * np.sqrt(count * both * (1 - both))).all()


def test_more_pairs_than_keys_are_refused():
    MqarConfig(vocab_size=_VOCAB, pairs=_VOCAB // 2 - 1).make_task()
    with refused("config.data.pairs is 20", 19, 40):
        MqarConfig(vocab_size=_VOCAB, pairs=_VOCAB // 2)


def test_training_examples_may_have_fewer_pairs():
    task = MultiQueryRecall(_VOCAB, _PAIRS, min_pairs=3)
    rng = np.random.default_rng(7)
    examples = [task.training_example(rng, 30) for _ in range(1000)]
    assert_uniform([np.count_nonzero(each.weights) for each in examples], [3, 4, 5, 6])
    for example in examples[:50]:
        keys = example.inputs[: 2 * np.count_nonzero(example.weights) : 2]
        assert sorted(example.inputs[example.weights > 0]) == sorted(keys)
    assert all(np.count_nonzero(each.weights) == _PAIRS for each in draws(task, 20, 30))
    # Unless said otherwise they are those that are scored.
    trained = _RECALL.training_example(np.random.default_rng(3), 30)
    (scored,) = draws(_RECALL, 1, 30, seed=3)
    assert np.array_equal(trained.inputs, scored.inputs)
    assert np.array_equal(trained.targets, scored.targets)
