import itertools
from collections import Counter

import numpy as np
import pytest

from mmrec_jax.data.tasks.mqar import MultiQueryRecall
from mmrec_jax.errors import UserError

_VOCAB, _PAIRS = 40, 6
_TASK = MultiQueryRecall(_VOCAB, _PAIRS)
_ONE_PAIR = MultiQueryRecall(_VOCAB, 1)


def _draws(count, length, task=_TASK):
    rng = np.random.default_rng(7)
    return [task.example(rng, length) for _ in range(count)]


@pytest.mark.parametrize("length", [4 * _PAIRS, 4 * _PAIRS + 1, 64, 101])
def test_each_key_is_asked_for_once_and_answered_with_its_value(length):
    for example in _draws(100, length):
        inputs, targets = example.inputs.tolist(), example.targets.tolist()
        value_of = {inputs[2 * n]: inputs[2 * n + 1] for n in range(_PAIRS)}
        assert len(value_of) == len(set(value_of.values())) == _PAIRS
        assert all(1 <= key < _VOCAB // 2 for key in value_of)
        assert all(_VOCAB // 2 <= value < _VOCAB for value in value_of.values())
        asked = [place for place in range(length) if example.weights[place]]
        assert all(example.weights[place] == 1 for place in asked)
        assert all(place >= 2 * _PAIRS and place % 2 == 0 for place in asked)
        assert sorted(inputs[place] for place in asked) == sorted(value_of)
        assert all(targets[place] == value_of[inputs[place]] for place in asked)


def test_keys_values_and_filler_are_uniform():
    examples = _draws(2000, 30)
    keys = Counter(key for e in examples for key in e.inputs[: 2 * _PAIRS : 2].tolist())
    values = Counter(value for e in examples for value in e.inputs[1 : 2 * _PAIRS : 2].tolist())
    filler = Counter(
        symbol for e in examples for symbol in e.inputs[2 * _PAIRS :][e.weights[12:] == 0].tolist()
    )
    assert sorted(keys) == list(range(1, _VOCAB // 2))
    assert sorted(values) == list(range(_VOCAB // 2, _VOCAB))
    assert sorted(filler) == list(range(_VOCAB))
    for counts in (keys, values, filler):
        mean = counts.total() / len(counts)
        assert all(abs(count - mean) < 5 * np.sqrt(mean) for count in counts.values())


def test_a_gap_follows_the_power_law():
    """The mean of log n is what a law n^(a - 1) is told by: here a itself to 0.01."""
    count, places = 10_000, 500
    number = np.arange(1, places + 1)
    law = 0.01 * number ** (0.01 - 1.0)
    law /= law.sum()
    mean = law @ np.log(number)
    spread = np.sqrt(law @ np.log(number) ** 2 - mean**2)
    asked = [np.flatnonzero(e.weights)[0] for e in _draws(count, 2 + 2 * places, _ONE_PAIR)]
    seen = np.log((np.array(asked) - 2) // 2 + 1)
    assert abs(seen.mean() - mean) < 2 * spread / np.sqrt(count)


def test_gaps_are_drawn_one_after_the_other_without_replacement():
    count, places = 4_000, 5
    weight = np.arange(1, places + 1) ** -0.99
    weight /= weight.sum()
    both = np.zeros((places, places))  # probability of the first key's place and the second's
    for first, second in itertools.permutations(range(places), 2):
        both[first, second] = weight[first] * weight[second] / (1 - weight[first])
    seen = np.zeros((places, places))
    for example in _draws(count, 4 + 2 * places, MultiQueryRecall(_VOCAB, 2)):
        inputs = example.inputs.tolist()
        place = {inputs[p]: (p - 4) // 2 for p in np.flatnonzero(example.weights)}
        seen[place[inputs[0]], place[inputs[2]]] += 1
    assert (np.abs(seen - count * both) <= 4 * np.sqrt(count * both * (1 - both))).all()


def test_the_last_place_can_be_asked():
    lasts = [np.flatnonzero(example.weights)[-1] for example in _draws(300, 40)]
    assert max(lasts) == 38


def test_more_pairs_than_keys_are_refused():
    MultiQueryRecall(_VOCAB, _VOCAB // 2 - 1)
    with pytest.raises(UserError, match=r"config\.task\.pairs is 20; .* at most 19, .* = 40"):
        MultiQueryRecall(_VOCAB, _VOCAB // 2)


def test_an_example_holds_all_pairs_and_all_queries():
    assert _TASK.min_length == 4 * _PAIRS
    assert np.count_nonzero(_draws(1, 4 * _PAIRS)[0].weights) == _PAIRS


def test_training_examples_may_have_fewer_pairs():
    task = MultiQueryRecall(_VOCAB, _PAIRS, min_pairs=3)
    rng = np.random.default_rng(7)
    examples = [task.training_example(rng, 30) for _ in range(2000)]
    counts = Counter(int(np.count_nonzero(example.weights)) for example in examples)
    assert sorted(counts) == [3, 4, 5, 6]
    assert all(abs(count - 500) < 5 * np.sqrt(500) for count in counts.values())
    for example in examples[:50]:
        pairs = int(np.count_nonzero(example.weights))
        keys = example.inputs[: 2 * pairs : 2]
        assert sorted(example.inputs[example.weights > 0]) == sorted(keys)
    scored = _draws(20, 30, task)
    assert all(np.count_nonzero(example.weights) == _PAIRS for example in scored)


def test_training_examples_are_those_that_are_scored_unless_said_otherwise():
    one, other = (np.random.default_rng(3) for _ in range(2))
    trained, scored = _TASK.training_example(one, 30), _TASK.example(other, 30)
    assert np.array_equal(trained.inputs, scored.inputs)
    assert np.array_equal(trained.targets, scored.targets)
