import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.objectives.cross_entropy import weighted_nll


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
    value, gradient = jax.value_and_grad(weighted_nll)(
        jnp.asarray(logits, jnp.float32),
        jnp.asarray(targets),
        jnp.asarray(weights, jnp.float32),
    )
    expected_value, expected_gradient = _by_hand(logits, targets, weights)
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-6)
    assert np.all(np.asarray(gradient)[weights == 0] == 0)


def test_padding_counts_nothing_whatever_stands_there(rng):
    logits = jnp.asarray(rng.normal(size=(1, 4, 5)), jnp.float32)
    weights = jnp.array([[1.0, 0.5, 0.0, 0.0]])
    short = weighted_nll(logits[:, :2], jnp.array([[1, 2]]), weights[:, :2])
    padded = weighted_nll(logits.at[:, 2:].mul(1e4), jnp.array([[1, 2, 3, 4]]), weights)
    assert float(short) == float(padded)
    infinite = logits.at[:, 3, 0].set(-jnp.inf)  # a target of probability 0
    assert float(weighted_nll(infinite, jnp.array([[1, 2, 3, 0]]), weights)) == float(short)
    assert float(weighted_nll(logits, jnp.zeros((1, 4), int), jnp.zeros((1, 4)))) == 0


def test_bfloat16_logits_are_summed_in_float32(rng):
    logits = jnp.asarray(rng.normal(size=(8, 64, 9)), jnp.bfloat16)
    targets = jnp.asarray(rng.integers(0, 9, (8, 64)))
    value = weighted_nll(logits, targets, jnp.ones((8, 64)))
    assert value.dtype == jnp.float32
    expected, _ = _by_hand(np.asarray(logits, np.float64), np.asarray(targets), np.ones((8, 64)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
