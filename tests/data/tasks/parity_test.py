import numpy as np

from mmrec_jax.data.tasks.modular import Modular
from mmrec_jax.data.tasks.parity import Parity


def test_the_answer_is_the_number_of_ones_so_far_modulo_two():
    example = Parity().example(np.random.default_rng(3), 200)
    ones = 0
    for bit, answer in zip(example.inputs.tolist(), example.targets.tolist(), strict=True):
        ones += bit
        assert answer == (1 if ones % 2 else 0)
    assert (example.weights == 1).all()


def test_bits_are_fair():
    bits = Parity().example(np.random.default_rng(0), 10_000).inputs
    assert abs(bits.mean() - 0.5) < 0.02
    assert abs(np.mean(bits[1:] == bits[:-1]) - 0.5) < 0.02


def test_it_is_counting_modulo_two():
    ours = Parity().example(np.random.default_rng(1), 50)
    theirs = Modular(2).example(np.random.default_rng(1), 50)
    assert ours.inputs.tolist() == theirs.inputs.tolist()
    assert ours.targets.tolist() == theirs.targets.tolist()
    assert (Parity.name, Parity().symbols) == ("parity", "01")
