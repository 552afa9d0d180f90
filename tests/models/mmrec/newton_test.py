"""The parallel solver: as exact as stepping, within its budget, never an unconverged answer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models.mmrec.recurrence import gated_scan
from tests.models.mmrec.loops import gated_loop, relative_error

BATCH, LENGTH, WIDTH = 2, 4096, 32


def model_like_inputs(weight, length=LENGTH, seed=0):
    """Half-lives from 2 to 512 tokens that vary with the input, as in a block; |w| = `weight`."""
    rng = np.random.default_rng(seed)
    shape = (BATCH, length, WIDTH)
    bias = -np.log(np.expm1(np.log(2) / np.geomspace(2, 512, WIDTH)))
    gamma = 1 / (1 + np.exp(-bias - 0.5 * rng.normal(size=shape)))
    inputs = {
        "gamma": gamma,
        "b": np.sqrt(1 - gamma**2) * rng.normal(size=shape),
        "w": weight * rng.choice([-1.0, 1.0], WIDTH),
        "c": rng.normal(size=WIDTH),
        "h0": rng.normal(size=(BATCH, WIDTH)),
    }
    return {name: jnp.float32(x) for name, x in inputs.items()}


def flip_flop(flip):
    """Inputs of which h turns over between about 0.1 and 1.96 where `flip [B, T, E]` is 1."""
    batch, _, width = flip.shape
    return {
        "gamma": 1 - np.float32(0.95) * flip,
        "b": flip,
        "w": np.full(width, -8, np.float32),
        "c": np.full(width, 4, np.float32),
        "h0": np.zeros((batch, width), np.float32),
    }


@functools.partial(jax.jit, static_argnames="passes")
def newton_scan(x, passes=None):
    return gated_scan(**x, backend="newton", passes=passes)


step_scan = jax.jit(lambda x: gated_scan(**x, backend="sequential"))


@pytest.mark.parametrize(("weight", "most"), [(0.1, 4), (1.0, 6), (2.0, 8), (4.0, 12), (8.0, 20)])
def test_few_iterations_and_no_worse_than_stepping(weight, most):
    inputs = model_like_inputs(weight)
    h, _, info = newton_scan(inputs)
    exact = gated_loop(
        **{name: np.float64(x) for name, x in inputs.items()},
        reset=np.zeros((BATCH, LENGTH), bool),
    )
    stepping = relative_error(step_scan(inputs)[0], exact)
    assert not info["fell_back"]
    assert float(info["residual"]) <= 8 * np.finfo(np.float32).eps
    assert int(info["iterations"]) <= most
    assert relative_error(h, exact) <= max(4 * stepping, 1e-6)
    if weight <= 1:
        assert relative_error(h, exact) <= 1e-5


def test_nan_is_not_convergence():
    inputs = model_like_inputs(1.0, 200)
    clean = newton_scan(inputs)[0]
    inputs["b"] = inputs["b"].at[0, 50, 3].set(jnp.nan)
    h, _, info = newton_scan(inputs)
    assert float(info["fell_back"]) == 1
    np.testing.assert_array_equal(h[0], step_scan(inputs)[0][0])
    np.testing.assert_array_equal(h[1], clean[1])


@pytest.mark.parametrize("passes", [None, 16])
def test_a_recurrence_that_forgets_nothing_is_stepped_through(passes):
    """Parity of random bits: each pass solves one more chunk of 32 tokens, and no other."""
    flip = np.float32(np.random.default_rng(0).integers(0, 2, (BATCH, 1024, WIDTH)))
    inputs = flip_flop(flip)
    h, _, info = newton_scan(inputs, passes)
    assert int(info["iterations"]) == (passes or 32)
    assert bool(info["fell_back"]) == (passes is not None)
    stepped = step_scan(inputs)[0]
    assert relative_error(h, stepped) <= 1e-6
    if passes is not None:
        np.testing.assert_array_equal(h, stepped)
    np.testing.assert_array_equal(np.asarray(h) > 1, np.cumsum(flip, axis=1) % 2)


def test_a_row_that_is_stepped_through_leaves_the_others_alone():
    """Nothing that one row reads changes a bit of another, whichever way each is solved."""
    bits = np.float32(np.random.default_rng(0).integers(0, 2, (BATCH, 1024, WIDTH)))
    few = bits * (np.arange(1024) < 100)[None, :, None]
    easy, mixed = flip_flop(few), flip_flop(np.stack([few[0], bits[1]]))
    (alone, _, solved), (together, _, hard) = (newton_scan(x, passes=16) for x in (easy, mixed))
    assert (solved["fell_back"], hard["fell_back"]) == (0, 1)
    np.testing.assert_array_equal(alone[0], together[0])
    np.testing.assert_array_equal(together[1], step_scan(mixed)[0][1])
