import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.train.loss import next_token_nats


def _by_hand(logits, targets, mask):
    """Value and gradient, float64, token by token."""
    value, gradient = 0.0, np.zeros(logits.shape)
    for b, t in np.argwhere(mask):
        shifted = np.exp(logits[b, t] - logits[b, t].max())
        p = shifted / shifted.sum()
        value -= np.log(p[targets[b, t]])
        gradient[b, t] = p
        gradient[b, t, targets[b, t]] -= 1
    return value, gradient


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_value_and_gradient_are_those_of_the_definition(rng, scale):
    logits = rng.normal(size=(3, 5, 7)) * scale
    targets = rng.integers(0, 7, (3, 5))
    mask = rng.random((3, 5)) < 0.6
    value, gradient = jax.value_and_grad(next_token_nats)(
        jnp.asarray(logits, jnp.float32), jnp.asarray(targets), jnp.asarray(mask)
    )
    expected_value, expected_gradient = _by_hand(logits, targets, mask)
    np.testing.assert_allclose(value, expected_value, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=2e-7)
    assert np.all(np.asarray(gradient)[~mask] == 0)


def test_padding_counts_nothing_whatever_stands_there(rng):
    logits = jnp.asarray(rng.normal(size=(1, 4, 5)), jnp.float32)
    mask = jnp.array([[True, True, False, False]])
    short = next_token_nats(logits[:, :2], jnp.array([[1, 2]]), mask[:, :2])
    padded = next_token_nats(logits.at[:, 2:].mul(1e4), jnp.array([[1, 2, 3, 4]]), mask)
    assert float(short) == float(padded)
    assert float(next_token_nats(logits, jnp.zeros((1, 4), int), jnp.zeros((1, 4), bool))) == 0


def test_bfloat16_logits_are_summed_in_float32(rng):
    logits = jnp.asarray(rng.normal(size=(8, 64, 9)), jnp.bfloat16)
    targets = jnp.asarray(rng.integers(0, 9, (8, 64)))
    value = next_token_nats(logits, targets, jnp.ones((8, 64), bool))
    assert value.dtype == jnp.float32
    expected, _ = _by_hand(np.asarray(logits, np.float64), np.asarray(targets), np.ones((8, 64)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)
