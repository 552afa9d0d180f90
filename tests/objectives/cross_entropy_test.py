import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.objectives.cross_entropy import weighted_nll

_weighted_nll = jax.jit(weighted_nll)


def _by_hand(logits, targets, weights):
    """Value and gradient, float64, token by token."""
    value, gradient = 0.0, np.zeros(logits.shape)
    for b, t in np.argwhere(weights > 0):
        shifted = np.exp(logits[b, t] - logits[b, t].max())
        p = shifted / shifted.sum()
        value -= weights[b, t] * np.log(p[targets[b, t]])
        gradient[b, t] = weights[b, t] * p
        gradient[b, t, targets[b, t]] -= weights[b, t]
    return value, gradient


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_value_and_gradient_are_those_of_the_definition(rng, scale):
    logits = rng.normal(size=(3, 5, 7)) * scale
    targets = rng.integers(0, 7, (3, 5))
    weights = rng.choice([0.0, 1.0, 0.125, 3.0], (3, 5)) * rng.choice([1.0, 0.7], (3, 5))
    assert 0 < np.count_nonzero(weights) < weights.size
    inputs = np.float32(logits), targets, np.float32(weights)
    value, gradient = jax.jit(jax.value_and_grad(weighted_nll))(*inputs)
    expected_value, expected_gradient = _by_hand(logits, targets, weights)
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)
    assert np.all(np.asarray(gradient)[weights == 0] == 0)


def test_padding_counts_nothing_whatever_stands_there(rng):
    logits = rng.normal(size=(1, 4, 5)).astype(np.float32)
    weights = np.float32([[1.0, 0.5, 0.0, 0.0]])
    short = _weighted_nll(logits[:, :2], np.array([[1, 2]]), weights[:, :2])
    large, infinite = logits.copy(), logits.copy()
    large[:, 2:] *= 1e4
    assert float(_weighted_nll(large, np.array([[1, 2, 3, 4]]), weights)) == float(short)
    infinite[:, 3, 0] = -np.inf  # a target of probability 0
    assert float(_weighted_nll(infinite, np.array([[1, 2, 3, 0]]), weights)) == float(short)
    assert float(_weighted_nll(logits, np.zeros((1, 4), int), 0 * weights)) == 0


def test_bfloat16_logits_are_summed_in_float32(rng):
    logits = jnp.asarray(rng.normal(size=(8, 64, 9)), jnp.bfloat16)
    targets = jnp.asarray(rng.integers(0, 9, (8, 64)))
    value = _weighted_nll(logits, targets, np.ones((8, 64), np.float32))
    assert value.dtype == jnp.float32
    expected, _ = _by_hand(np.asarray(logits, np.float64), np.asarray(targets), np.ones((8, 64)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
