import numpy as np
import pytest

from mmrec_jax.data.tasks.modular import Modular


@pytest.mark.parametrize("modulus", [2, 3, 12])
def test_the_answer_is_the_sum_so_far_modulo_m(modulus):
    example = Modular(modulus).example(np.random.default_rng(3), 200)
    inputs = example.inputs.tolist()
    assert example.targets.tolist() == [sum(inputs[: n + 1]) % modulus for n in range(200)]
    assert (example.weights == 1).all()


def test_symbols_are_uniform_and_independent():
    inputs = Modular(5).example(np.random.default_rng(0), 20_000).inputs
    for symbol in range(5):
        assert abs(np.mean(inputs == symbol) - 0.2) < 0.015
        assert abs(np.mean(inputs[1:][inputs[:-1] == 0] == symbol) - 0.2) < 0.03
