from collections import Counter

import numpy as np
import pytest

from mmrec_jax.data.tasks.mqar import MultiQueryRecall
from mmrec_jax.errors import UserError

_VOCAB, _PAIRS = 40, 6
_TASK = MultiQueryRecall(_VOCAB, _PAIRS)


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


def test_gaps_follow_the_power_law_without_replacement():
    """Two keys among five places: first one, then the other among what is left."""
    count, places = 6_000, 5
    weight = np.arange(1, places + 1) ** -0.99
    weight /= weight.sum()
    pair = np.array(
        [
            [0 if i == j else weight[i] * weight[j] / (1 - weight[i]) for j in range(places)]
            for i in range(places)
        ]
    )
    seen = np.zeros((places, places))
    task = MultiQueryRecall(_VOCAB, 2)
    for example in _draws(count, 4 + 2 * places, task):
        first, second = example.inputs[0], example.inputs[2]
        asked = {example.inputs[p]: (p - 4) // 2 for p in np.flatnonzero(example.weights)}
        seen[asked[first], asked[second]] += 1
    spread = np.sqrt(count * pair * (1 - pair))
    assert (np.abs(seen - count * pair) <= 5 * spread).all()


def test_the_last_place_can_be_asked():
    lasts = [np.flatnonzero(example.weights)[-1] for example in _draws(300, 40)]
    assert max(lasts) == 38


def test_more_pairs_than_keys_are_refused():
    MultiQueryRecall(_VOCAB, _VOCAB // 2 - 1)
    with pytest.raises(UserError, match=r"config\.task\.pairs is 20; .* at most 19, .* = 40"):
        MultiQueryRecall(_VOCAB, _VOCAB // 2)
