"""Dropout; start values of the decays, and the input multiplier near gamma = 1, against float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models.mmrec.layers import (
    Dropout,
    bounded_sqrt,
    decay_and_multiplier,
    halflife_bias,
)
from tests.models.mmrec.loops import relative_error


def drop(x, rate, seed=0):
    return Dropout(rate, deterministic=False).apply({}, x, rngs={"dropout": jax.random.key(seed)})


@pytest.mark.parametrize(("rate", "width"), [(0.1, 400), (1 / 3, 7)])
def test_dropout_zeroes_the_asked_share_and_keeps_the_mean(rate, width):
    """A share of 280,000 draws: within five standard errors of the rate, and none partly."""
    x = jnp.full((2, 140_000 // width, width), 3.0)
    dropped = np.asarray(drop(x, rate))
    kept = dropped != 0
    error = np.sqrt(rate * (1 - rate) / x.size)
    assert abs(kept.mean() - (1 - rate)) < 5 * error
    np.testing.assert_allclose(dropped[kept], 3 / (1 - rate), rtol=1e-4)
    # Both halves of a random word are used, and neighbours are independent of each other.
    for column in (0, 1):
        assert abs(kept[..., column::2].mean() - (1 - rate)) < 8 * error
    together = (~kept[..., :-1] & ~kept[..., 1:]).mean()
    assert abs(together - rate**2) < 8 * error


def test_dropout_is_drawn_from_its_key_and_cuts_gradients_where_it_cuts_values():
    x = jnp.ones((4, 33))
    np.testing.assert_array_equal(drop(x, 0.4), drop(x, 0.4))
    assert np.any(drop(x, 0.4) != drop(x, 0.4, seed=1))
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(drop(x, 0.4)))(x), drop(x, 0.4))
    assert drop(x, 0.0) is x


@pytest.mark.parametrize(("low", "high", "count"), [(2, 512, 128), (16, 4096, 4), (16, 4096, 1)])
def test_half_lives_are_log_uniform(low, high, count):
    """After `halflife` tokens exactly half is left; the half-lives are in equal ratios.

    A single memory gets the longest.
    """
    bias = halflife_bias(low, high)(jax.random.key(0), (3, count))
    assert bias.dtype == jnp.float32
    halflife = np.log(2) / np.log1p(np.exp(-np.float64(bias)))
    share = np.arange(count) / (count - 1) if count > 1 else 1
    expected = low * (high / low) ** share
    np.testing.assert_allclose(halflife, np.broadcast_to(expected, (3, count)), rtol=2e-6)


def test_decay_and_multiplier_are_accurate_near_one():
    """1 - gamma is 1e-13 at the end of the range: `sqrt(1 - gamma^2)` would give 0 from 17 on."""
    logits = np.linspace(-20, 30, 2001, dtype=np.float32)
    gamma, multiplier = jax.jit(decay_and_multiplier)(logits)
    log_gamma = -np.log1p(np.exp(-np.float64(logits)))
    np.testing.assert_allclose(gamma, np.exp(log_gamma), rtol=3e-6)
    np.testing.assert_allclose(multiplier, np.sqrt(-np.expm1(2 * log_gamma)), rtol=1e-6)


def test_gradients_are_exact_where_the_bound_is_far_and_finite_everywhere():
    logits = np.linspace(-8, 8, 201, dtype=np.float32)
    far = np.float32([-1e4, -100, -20, 10, 17, 30, 100, 1e4])

    @jax.jit
    def gradients(x):
        return [jax.grad(lambda x, i=i: jnp.sum(decay_and_multiplier(x)[i]))(x) for i in (0, 1)]

    exact = 1 / (1 + np.exp(-np.float64(logits)))
    slope = exact / (1 + np.exp(np.float64(logits)))
    gamma, multiplier = gradients(logits)
    assert relative_error(gamma, slope) <= 1e-5
    assert relative_error(multiplier, -exact * slope / np.sqrt(1 - exact**2)) <= 1e-5
    for gradient in gradients(far):
        assert np.all(np.isfinite(gradient))
        assert np.max(np.abs(gradient)) < 1


def test_derivative_of_the_square_root_is_bounded():
    """0.5 / sqrt(x) down to x = 2.5e-7, then 1000, at x = 0 too (plain sqrt: infinite)."""
    x = np.float32([1.0, 1e-2, 1e-6, 2.6e-7, 1e-7, 1e-20, 0.0])
    derivative = jax.vmap(jax.grad(bounded_sqrt))(x)
    expected = [0.5, 5.0, 500.0, 0.5 / np.sqrt(2.6e-7), 1000.0, 1000.0, 1000.0]
    np.testing.assert_allclose(derivative, expected, rtol=1e-6)
    np.testing.assert_array_equal(bounded_sqrt(x), np.sqrt(x))
