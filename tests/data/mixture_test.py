import random

import pytest

from mmrec_jax.data.mixture import Mixture, Stage, next_source
from tests.small_data import refused


def test_weights_by_step():
    mixture = Mixture.parse("3, 1; 500: 1,1;900:0,2", 2)
    assert mixture.stages == (Stage(1, (3, 1)), Stage(500, (1, 1)), Stage(900, (0, 2)))
    first_steps = [mixture.stage(step).first_step for step in (1, 499, 500, 899, 900, 10**9)]
    assert first_steps == [1, 1, 500, 500, 900, 900]
    assert mixture.uses(0)
    assert not Mixture.parse("0,1", 2).uses(0)


_SENSELESS = "3|3,x|3,1; a: 1,1|3,-1|3,nan|0,0|3,1; 1,1|1: 3,1|3,1; 1: 1,1|3,1; 9: 1,1; 9: 1,2"


@pytest.mark.parametrize("text", _SENSELESS.split("|"))
def test_weights_that_make_no_sense(text):
    with refused(f"config.data.weights is {text!r}: "):
        Mixture.parse(text, 2)


@pytest.mark.parametrize("weights", [(3, 1), (1, 0), (0.3, 0.7)])
def test_shares_of_two_sources_are_exact_to_one_document(weights):
    choose = random.Random(1)
    tokens, longest = [0, 0], 1
    for _ in range(2000):
        length = choose.choice([1, 20, 20, 900])
        tokens[next_source(weights, tokens)] += length
        longest = max(longest, length)
        for number, weight in enumerate(weights):
            share = weight / sum(weights) * sum(tokens)
            assert abs(tokens[number] - share) <= longest
    assert [bool(n) for n in tokens] == [bool(w) for w in weights]


def test_shares_of_many_sources_converge():
    choose, weights, tokens = random.Random(2), (5, 1, 3, 0.5), [0] * 4
    for _ in range(4000):
        tokens[next_source(weights, tokens)] += choose.randint(1, 50)
    for number, weight in enumerate(weights):
        assert abs(tokens[number] - weight / 9.5 * sum(tokens)) <= 3 * 50
