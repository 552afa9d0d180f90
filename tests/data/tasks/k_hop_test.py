import itertools
from collections import Counter

import numpy as np
import pytest

from mmrec_jax.data.tasks.k_hop import KHop


def _answer(inputs, place, hops):
    """By the definition, find(i) = max {j <= i : x[j - 1] = x[i]} k times; None if undefined."""
    for _ in range(hops):
        found = [j for j in range(1, place + 1) if inputs[j - 1] == inputs[place]]
        if not found:
            return None
        place = max(found)
    return inputs[place]


@pytest.mark.parametrize(("vocab_size", "hops"), [(4, 1), (4, 3), (5, 2), (9, 5)])
def test_every_place_is_answered_by_the_definition(vocab_size, hops):
    task = KHop(vocab_size, hops)
    for length in (task.min_length, task.min_length + 20, 100):
        for seed in range(5):
            example = task.example(np.random.default_rng(seed), length)
            inputs = example.inputs.tolist()
            answers = [_answer(inputs, place, hops) for place in range(length)]
            assert example.weights.tolist() == [float(answer is not None) for answer in answers]
            for answer, target in zip(answers, example.targets.tolist(), strict=True):
                assert answer in (None, target)


def test_the_shortest_example_always_has_an_answer():
    task = KHop(4, 3)
    rng = np.random.default_rng(0)
    asked = [np.count_nonzero(task.example(rng, task.min_length).weights) for _ in range(2000)]
    assert min(asked) >= 1


def test_symbols_are_uniform_among_those_that_differ_from_the_last():
    inputs = KHop(5, 1).example(np.random.default_rng(1), 20_000).inputs.tolist()
    following = Counter(itertools.pairwise(inputs))
    assert set(following) == {(a, b) for a in range(5) for b in range(5) if a != b}
    mean = following.total() / len(following)
    assert all(abs(count - mean) < 5 * np.sqrt(mean) for count in following.values())
    rng = np.random.default_rng(2)
    firsts = Counter(int(KHop(5, 1).example(rng, 6).inputs[0]) for _ in range(500))
    assert sorted(firsts) == list(range(5))
    assert all(abs(count - 100) < 50 for count in firsts.values())
