from collections import Counter

import numpy as np
import pytest

from mmrec_jax.data.tasks.induction import Induction

_VOCAB = 7


@pytest.mark.parametrize("length", [3, 4, 50])
def test_the_answer_is_what_followed_the_trigger(length):
    rng = np.random.default_rng(length)
    for _ in range(100):
        example = Induction(_VOCAB).example(rng, length)
        inputs = example.inputs.tolist()
        assert inputs.count(_VOCAB) == 2
        assert inputs[-1] == _VOCAB
        assert example.targets[-1] == inputs[inputs.index(_VOCAB) + 1] < _VOCAB
        assert example.weights.tolist() == [0] * (length - 1) + [1]


def test_the_place_and_the_symbols_are_uniform():
    rng = np.random.default_rng(0)
    examples = [Induction(_VOCAB).example(rng, 12) for _ in range(2000)]
    places = Counter(example.inputs.tolist().index(_VOCAB) for example in examples)
    answers = Counter(int(example.targets[-1]) for example in examples)
    assert sorted(places) == list(range(10))
    assert sorted(answers) == list(range(_VOCAB))
    for counts in (places, answers):
        mean = counts.total() / len(counts)
        assert all(abs(count - mean) < 5 * np.sqrt(mean) for count in counts.values())
