from collections import Counter

import numpy as np
import pytest

from mmrec_jax.data.tasks.needle import Needle

_VOCAB = 30


@pytest.mark.parametrize("length", [11, 12, 60])
def test_the_value_is_asked_symbol_by_symbol(length):
    rng = np.random.default_rng(length)
    for _ in range(100):
        example = Needle(_VOCAB).example(rng, length)
        inputs = example.inputs.tolist()
        depth, again = (place for place in range(length) if inputs[place] == _VOCAB)
        assert again == length - 5
        key, *value = inputs[depth + 1 : depth + 6]
        assert inputs[again + 1 :] == [key, *value[:3]]
        assert example.targets.tolist()[again + 1 :] == value
        assert example.weights.tolist() == [0] * (length - 4) + [1] * 4


def test_the_depth_and_the_value_are_uniform():
    rng = np.random.default_rng(0)
    examples = [Needle(_VOCAB).example(rng, 20) for _ in range(2000)]
    depths = Counter(example.inputs.tolist().index(_VOCAB) for example in examples)
    values = Counter(symbol for example in examples for symbol in example.targets[-4:].tolist())
    assert sorted(depths) == list(range(10))
    assert sorted(values) == list(range(_VOCAB))
    for counts in (depths, values):
        mean = counts.total() / len(counts)
        assert all(abs(count - mean) < 5 * np.sqrt(mean) for count in counts.values())
