"""Every task by its definition, and what all of them promise."""

import itertools
from collections import Counter

import numpy as np
import pytest

from mmrec_jax.data.kinds.tasks import (
    InductionConfig,
    KHopConfig,
    ModularConfig,
    MqarConfig,
    NeedleConfig,
    ParityConfig,
)
from mmrec_jax.tokenizers.char import CharTokenizer

_VOCAB, _PAIRS = 40, 6
_RECALL = MqarConfig(vocab_size=_VOCAB, pairs=_PAIRS)
_TASKS = (
    ParityConfig(),
    ModularConfig(modulus=7),
    _RECALL,
    InductionConfig(vocab_size=7),
    KHopConfig(vocab_size=5, hops=2),
    NeedleConfig(vocab_size=30),
)


def draws(task, count, length, seed=7):
    rng = np.random.default_rng(seed)
    return [task.example(rng, length) for _ in range(count)]


def assert_uniform(drawn, outcomes):
    """Each outcome is about as frequent as any other: five standard deviations of a count."""
    counts = Counter(drawn)
    assert sorted(counts) == sorted(outcomes)
    mean = counts.total() / len(counts)
    assert all(abs(count - mean) < 5 * np.sqrt(mean) for count in counts.values())


@pytest.mark.parametrize("task", _TASKS, ids=lambda task: task.source)
def test_examples_have_exactly_the_length_and_only_known_symbols(task):
    for length in (task.shortest, task.shortest + 1, 64, 257):
        (example,) = draws(task, 1, length, seed=length)
        assert {array.shape for array in example} == {(length,)}
        for symbols in example[:2]:
            assert symbols.dtype.kind == "i"
            assert 0 <= symbols.min() <= symbols.max() < len(task.symbols)
        assert (example.weights >= 0).all()
        assert (example.weights > 0).any()
    np.testing.assert_array_equal(*(draws(task, 1, 64) for _ in range(2)))


@pytest.mark.parametrize("size", [2, 62, 63, 20_000])
def test_symbols_survive_a_tokenizer_and_its_file(size):
    symbols = ModularConfig(modulus=size).symbols
    assert len(symbols) == size
    assert list(symbols) == sorted(set(symbols))
    assert symbols.isprintable()
    tokenizer = CharTokenizer.from_content(CharTokenizer(symbols).content, "file")
    assert tokenizer.encode(symbols).tolist() == list(range(2, 2 + size))


@pytest.mark.parametrize("task", [ParityConfig(), ModularConfig(modulus=12)])
def test_modular_and_parity_are_sums_so_far(task):
    modulus = len(task.symbols)
    (example,) = draws(task, 1, 20_000)
    inputs = example.inputs.tolist()
    assert example.targets.tolist() == [s % modulus for s in itertools.accumulate(inputs)]
    assert (example.weights == 1).all()
    assert_uniform(itertools.pairwise(inputs), itertools.product(range(modulus), repeat=2))


def _hop_answer(inputs, position, hops):
    """By the definition, find(i) = max {j <= i : x[j - 1] = x[i]} k times; None if undefined."""
    for _ in range(hops):
        found = [j for j in range(1, position + 1) if inputs[j - 1] == inputs[position]]
        if not found:
            return None
        position = max(found)
    return inputs[position]


@pytest.mark.parametrize(("vocab_size", "hops"), [(4, 1), (5, 3)])
def test_k_hop_is_answered_by_its_definition(vocab_size, hops):
    task = KHopConfig(vocab_size=vocab_size, hops=hops)
    for example in [x for n in (task.shortest, 100) for x in draws(task, 5, n)]:
        inputs = example.inputs.tolist()
        answers = [_hop_answer(inputs, position, hops) for position in range(len(inputs))]
        assert example.weights.tolist() == [float(answer is not None) for answer in answers]
        for answer, target in zip(answers, example.targets.tolist(), strict=True):
            assert answer in (None, target)
    shortest = draws(task, 500, task.shortest)
    assert all(example.weights.any() for example in shortest)
    assert_uniform([int(example.inputs[0]) for example in shortest], range(vocab_size))
    (long,) = draws(task, 1, 20_000)
    apart = itertools.permutations(range(vocab_size), 2)
    assert_uniform(itertools.pairwise(long.inputs.tolist()), apart)


@pytest.mark.parametrize("length", [3, 50])
def test_induction_asks_what_followed_the_trigger(length):
    examples = draws(_TASKS[3], 1000, length)
    for example in examples:
        inputs = example.inputs.tolist()
        assert (inputs.count(7), inputs[-1]) == (2, 7)
        assert example.targets[-1] == inputs[inputs.index(7) + 1] < 7
        assert example.weights.tolist() == [0] * (length - 1) + [1]
    assert_uniform([each.inputs.tolist().index(7) for each in examples], range(length - 2))
    assert_uniform([int(each.targets[-1]) for each in examples], range(7))


@pytest.mark.parametrize("length", [11, 60])
def test_needle_asks_for_its_value_symbol_by_symbol(length):
    examples = draws(_TASKS[5], 1000, length)
    for example in examples:
        inputs = example.inputs.tolist()
        depth, again = (position for position in range(length) if inputs[position] == 30)
        assert again == length - 5
        key, *value = inputs[depth + 1 : depth + 6]
        assert inputs[again + 1 :] == [key, *value[:3]]
        assert example.targets.tolist()[again + 1 :] == value
        assert example.weights.tolist() == [0] * (length - 4) + [1] * 4
    assert_uniform([each.inputs.tolist().index(30) for each in examples], range(length - 10))
    assert_uniform([n for each in examples for n in each.targets[-4:].tolist()], range(30))


@pytest.mark.parametrize("length", [4 * _PAIRS, 4 * _PAIRS + 1, 101])
def test_each_key_is_asked_for_once_and_answered_with_its_value(length):
    shown, examples = 2 * _PAIRS, draws(_RECALL, 1000, length)
    for example in examples[:100]:
        inputs, targets = example.inputs.tolist(), example.targets.tolist()
        value_of = dict(zip(inputs[:shown:2], inputs[1:shown:2], strict=True))
        assert len(value_of) == len(set(value_of.values())) == _PAIRS
        asked = np.flatnonzero(example.weights).tolist()
        assert (example.weights[asked] == 1).all()
        assert all(position >= shown and position % 2 == 0 for position in asked)
        assert sorted(inputs[position] for position in asked) == sorted(value_of)
        assert all(targets[position] == value_of[inputs[position]] for position in asked)
    keys, values = ([n for e in examples for n in e.inputs[i:shown:2].tolist()] for i in (0, 1))
    filler = [n for e in examples for n in e.inputs[shown:][e.weights[shown:] == 0].tolist()]
    assert_uniform(keys, range(1, _VOCAB // 2))
    assert_uniform(values, range(_VOCAB // 2, _VOCAB))
    assert_uniform(filler, range(_VOCAB))


def test_gaps_follow_the_power_law_one_after_the_other_without_replacement():
    count, gaps = 4_000, 5
    weight = np.arange(1, gaps + 1) ** -0.99
    weight /= weight.sum()
    both = np.zeros((gaps, gaps))  # probability of the first key's gap and the second's
    for first, second in itertools.permutations(range(gaps), 2):
        both[first, second] = weight[first] * weight[second] / (1 - weight[first])
    seen = np.zeros((gaps, gaps))
    for example in draws(MqarConfig(vocab_size=_VOCAB, pairs=2), count, 4 + 2 * gaps):
        inputs = example.inputs.tolist()
        gap = {inputs[p]: (p - 4) // 2 for p in np.flatnonzero(example.weights)}
        seen[gap[inputs[0]], gap[inputs[2]]] += 1
    assert (np.abs(seen - count * both) <= 4 * np.sqrt(count * both * (1 - both))).all()


def test_training_examples_may_have_fewer_pairs():
    task = MqarConfig(vocab_size=_VOCAB, pairs=_PAIRS, min_pairs=3)
    rng = np.random.default_rng(7)
    examples = [task.training_example(rng, 30) for _ in range(1000)]
    assert_uniform([np.count_nonzero(each.weights) for each in examples], [3, 4, 5, 6])
    assert all(np.count_nonzero(each.weights) == _PAIRS for each in draws(task, 20, 30))
