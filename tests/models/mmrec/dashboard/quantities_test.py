import numpy as np
import pytest

from mmrec_jax.models.mmrec.dashboard import observer as q


@pytest.mark.parametrize("tokens", [0.25, 1.0, 7.5, 512.0, 1e6])
def test_the_half_life_of_a_constant_decay_is_known(tokens):
    decay = np.float64(2.0) ** (-1 / tokens)
    logit = np.float32(np.log(decay) - np.log1p(-decay))
    np.testing.assert_allclose(q.half_life(q.forgetting(logit)), tokens, rtol=1e-5)
    # By its definition: after so many tokens half is left.
    lost = float(q.forgetting(logit))
    np.testing.assert_allclose(np.exp(-lost * q.half_life(lost)), 0.5, rtol=1e-6)


def test_nothing_lost_is_an_infinite_half_life():
    assert q.half_life(np.array([0.0, np.log(2.0)])).tolist() == [np.inf, 1.0]


def test_the_effective_rank_of_known_matrices(rng):
    def rotated(values, size=(6, 4)):
        left = np.linalg.qr(rng.normal(size=(size[0], size[0])))[0]
        right = np.linalg.qr(rng.normal(size=(size[1], size[1])))[0]
        diagonal = np.zeros(size)
        np.fill_diagonal(diagonal, values)
        return left @ diagonal @ right

    cases = {
        1.0: [3.0, 0, 0, 0],
        2.0: [0.1, 0.1, 0, 0],
        4.0: [5.0, 5.0, 5.0, 5.0],
        2**1.75: [4.0, 2.0, 1.0, 1.0],  # shares 1/2, 1/4, 1/8, 1/8: 1.75 bits
        0.0: [0.0, 0, 0, 0],
    }
    ranks = q.effective_rank(np.stack([rotated(values) for values in cases.values()]))
    np.testing.assert_allclose(ranks, list(cases), rtol=1e-9)
    assert np.isnan(q.effective_rank(np.array([[np.nan, 1.0], [0.0, 1.0]])))


def test_saturation_of_known_gates():
    gates = np.array([[0.05, 0.099, 0.101, 1.0], [1.0, 1.89, 1.91, 1.99]])
    low, high = q.saturated(np.log(gates / (2 - gates)))
    assert low.tolist() == [0.5, 0]
    assert high.tolist() == [0, 0.5]
    counts = q.count_gates(np.log(gates / (2 - gates)))
    assert counts.tolist() == [np.histogram(row, q.GATE_EDGES)[0].tolist() for row in gates]


def test_histograms_count_every_number_once(rng):
    half_lives = 2.0 ** rng.uniform(-2.9, 16.9, (3, 200))
    expected = [np.histogram(row, q.HALF_LIFE_EDGES)[0] for row in half_lives]
    np.testing.assert_array_equal(q.count_half_lives(half_lives), expected)
    writes = rng.uniform(0, 1, (3, 20, 10))
    expected = [np.histogram(layer, q.WRITE_EDGES)[0] for layer in writes]
    np.testing.assert_array_equal(q.count_writes(writes), expected)
    outside = q.count_half_lives(np.array([[0.0, 1e-9, 1e9, np.inf]]))[0]
    assert (outside[0], outside[-1], outside.sum()) == (2, 2, 4)


def test_positions_fall_into_octaves():
    positions = np.array([1, 2, 3, 4, 7, 8, 4095, 4096])
    assert q.octave(positions).tolist() == [0, 1, 1, 2, 2, 3, 11, 12]
