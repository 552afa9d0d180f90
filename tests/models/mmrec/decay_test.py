"""Start values of the decays, and the input multiplier near gamma = 1, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models.mmrec.layers import bounded_sqrt, decay_and_multiplier, halflife_bias
from tests.models.mmrec.loops import relative_error


@pytest.mark.parametrize(("low", "high", "count"), [(2, 512, 128), (16, 4096, 4), (1, 1e6, 9)])
def test_half_lives_are_log_uniform(low, high, count):
    """After `halflife` tokens exactly half is left; the half-lives are in equal ratios."""
    bias = halflife_bias(low, high)(jax.random.key(0), (3, count))
    assert bias.dtype == jnp.float32
    bias = np.asarray(bias, np.float64)
    halflife = np.log(2) / np.log1p(np.exp(-bias))
    expected = low * (high / low) ** (np.arange(count) / (count - 1))
    np.testing.assert_allclose(halflife, np.broadcast_to(expected, (3, count)), rtol=2e-6)


def test_a_single_memory_gets_the_longest_half_life():
    bias = np.asarray(halflife_bias(16, 4096)(jax.random.key(0), (1,)), np.float64)
    np.testing.assert_allclose(np.log(2) / np.log1p(np.exp(-bias)), [4096], rtol=2e-6)


def test_decay_and_multiplier_are_accurate_near_one():
    """1 - gamma is 1e-13 at the end of the range: `sqrt(1 - gamma^2)` would give 0 from 17 on."""
    logits = np.linspace(-20, 30, 2001, dtype=np.float32)
    gamma, multiplier = jax.jit(decay_and_multiplier)(logits)
    log_gamma = -np.log1p(np.exp(-np.float64(logits)))
    np.testing.assert_allclose(gamma, np.exp(log_gamma), rtol=3e-6)
    np.testing.assert_allclose(multiplier, np.sqrt(-np.expm1(2 * log_gamma)), rtol=1e-6)


def test_gradients_are_exact_where_the_bound_is_far():
    logits = np.linspace(-8, 8, 201, dtype=np.float32)
    gamma, multiplier = (
        jax.jit(jax.grad(lambda x, i=i: jnp.sum(decay_and_multiplier(x)[i])))(logits)
        for i in (0, 1)
    )
    exact = 1 / (1 + np.exp(-np.float64(logits)))
    slope = exact / (1 + np.exp(np.float64(logits)))
    assert relative_error(gamma, slope) <= 1e-5
    assert relative_error(multiplier, -exact * slope / np.sqrt(1 - exact**2)) <= 1e-5


def test_derivative_of_the_square_root_is_bounded():
    """0.5 / sqrt(x) down to x = 2.5e-7, then 1000, at x = 0 too (plain sqrt: infinite)."""
    x = np.float32([1.0, 1e-2, 1e-6, 2.6e-7, 1e-7, 1e-20, 0.0])
    derivative = jax.vmap(jax.grad(bounded_sqrt))(x)
    expected = [0.5, 5.0, 500.0, 0.5 / np.sqrt(2.6e-7), 1000.0, 1000.0, 1000.0]
    np.testing.assert_allclose(derivative, expected, rtol=1e-6)
    np.testing.assert_array_equal(bounded_sqrt(x), np.sqrt(x))


def test_gradient_is_finite_for_every_logit():
    logits = jnp.float32([-1e4, -100, -20, 0, 10, 17, 30, 100, 1e4])
    for i in (0, 1):
        gradient = jax.grad(lambda x, i=i: jnp.sum(decay_and_multiplier(x)[i]))(logits)
        assert bool(jnp.all(jnp.isfinite(gradient)))
        assert float(jnp.max(jnp.abs(gradient))) < 1
