"""gated_scan against a float64 loop and gradients derived by hand."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mmrec_jax.models.mmrec.recurrence import gated_scan
from mmrec_jax.models.mmrec.scan import linear_scan
from tests.models.mmrec.loops import (
    OPTIMISED,
    assert_close,
    gated_loop,
    gated_loop_gradient,
    relative_error,
    sigmoid,
)
from tests.models.mmrec.second_order import assert_second_order

LENGTHS = [1, 3, 63, 64, 65, 1000]
BATCH, WIDTH = 3, 4
NAMES = ("gamma", "b", "w", "c", "h0")


@pytest.fixture(params=["sequential", "newton"])
def backend(request):
    return request.param


def random_inputs(
    rng: np.random.Generator, length: int, weight: float = 1.0
) -> dict[str, np.ndarray]:
    """Decays with half-lives up to a thousand tokens, normalised inputs, |w| = `weight`."""
    shape = (BATCH, length, WIDTH)
    gamma = 1 - np.exp(rng.uniform(np.log(1e-3), 0, shape))
    return {
        "gamma": gamma,
        "b": np.sqrt(1 - gamma**2) * rng.normal(size=shape),
        "w": weight * rng.choice([-1.0, 1.0], WIDTH),
        "c": rng.normal(size=WIDTH),
        "h0": rng.normal(size=(BATCH, WIDTH)),
    }


def random_resets(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    edges = np.zeros((BATCH, length), bool)
    edges[:, [0, -1]] = True
    return {
        "none": np.zeros((BATCH, length), bool),
        "random": rng.random((BATCH, length)) < 0.1,
        "edges": edges,
    }


@functools.partial(jax.jit, static_argnames="backend", compiler_options=OPTIMISED)
def value_and_gradients(inputs, reset, g, g_last, backend):
    def solve(inputs):
        h, h_last, info = gated_scan(**inputs, reset=reset, backend=backend)
        return (h, h_last), info

    outputs, pull, info = jax.vjp(solve, inputs, has_aux=True)
    return outputs, pull((g, g_last))[0], info


def check(inputs, resets, rng, dtype, tolerance, backend):
    """Values and gradients of `gated_scan` in `dtype` against the loop on the same numbers."""
    narrow = {name: jnp.asarray(x, dtype) for name, x in inputs.items()}
    exact = {name: np.asarray(x, np.float64) for name, x in narrow.items()}
    g = rng.normal(size=exact["b"].shape)
    g_last = rng.normal(size=exact["h0"].shape)
    for reset in resets.values():
        h = gated_loop(**exact, reset=reset)
        gradients = gated_loop_gradient(exact | {"reset": reset}, h, g, g_last)
        (got_h, got_last), got, info = value_and_gradients(
            narrow, jnp.asarray(reset), jnp.asarray(g, dtype), jnp.asarray(g_last, dtype), backend
        )
        assert not info["fell_back"]
        assert relative_error(got_h, h) <= tolerance
        assert relative_error(got_last, h[:, -1]) <= tolerance
        assert_close(got, gradients, tolerance)


@pytest.mark.parametrize("length", LENGTHS)
def test_matches_float64_loop(length, rng, backend):
    check(random_inputs(rng, length), random_resets(rng, length), rng, jnp.float32, 1e-5, backend)


def test_matches_float64_loop_where_the_gate_is_steep(rng, x64, backend):
    """|w| = 8: the Jacobian leaves [-1, 1] and float32 itself drifts, so double precision."""
    inputs = random_inputs(rng, 1000, weight=8.0)
    check(inputs, random_resets(rng, 1000), rng, jnp.float64, 1e-8, backend)


def test_steep_gate_stays_finite_in_float32(rng, backend):
    inputs = {name: jnp.float32(x) for name, x in random_inputs(rng, 1000, 8.0).items()}
    ones = jnp.ones((BATCH, 1000, WIDTH))
    (h, _), gradients, _ = value_and_gradients(
        inputs, jnp.zeros((BATCH, 1000), bool), ones, ones[:, 0], backend
    )
    assert bool(jnp.all(jnp.isfinite(h)))
    assert all(bool(jnp.all(jnp.isfinite(x))) for x in gradients.values())


@pytest.mark.parametrize("gamma", [1e-6, 1 - 1e-6])
def test_extreme_decays(gamma, rng, backend):
    inputs = random_inputs(rng, 1000)
    inputs["gamma"] = np.full_like(inputs["gamma"], gamma)
    inputs["b"] = np.sqrt(1 - gamma**2) * rng.normal(size=inputs["b"].shape)
    check(inputs, random_resets(rng, 1000), rng, jnp.float32, 1e-5, backend)


def test_bfloat16_inputs_accumulate_in_float32(rng, backend):
    low = {n: jnp.asarray(x, jnp.bfloat16) for n, x in random_inputs(rng, 1000).items()}
    exact = {n: np.asarray(x, np.float64) for n, x in low.items()}
    reset = rng.random((BATCH, 1000)) < 0.1
    g, g_last = rng.normal(size=exact["b"].shape), rng.normal(size=exact["h0"].shape)
    g = np.float64(jnp.asarray(g, jnp.bfloat16))
    h = gated_loop(**exact, reset=reset)
    gradients = gated_loop_gradient(exact | {"reset": reset}, h, g, g_last)
    (got_h, got_last), got, _ = value_and_gradients(
        low, jnp.asarray(reset), jnp.asarray(g, jnp.bfloat16), jnp.float32(g_last), backend
    )
    assert got_h.dtype == jnp.bfloat16
    assert got_last.dtype == jnp.float32
    assert relative_error(got_h, h) <= 2e-2
    assert relative_error(got_last, h[:, -1]) <= 1e-5
    assert_close(got, gradients, 2e-2)


def test_without_a_weight_it_is_the_linear_recurrence(rng):
    """With w = 0 the gate is the constant 2 sigmoid(c); c = 0 is the model's start."""
    x = {n: jnp.float32(v) for n, v in random_inputs(rng, 65, weight=0.0).items()}
    h, h_last, info = gated_scan(**x)
    gate = jnp.float32(2 * sigmoid(np.float64(x["c"])))
    expected, last = linear_scan(x["gamma"], gate[None, None] * x["b"], x["h0"])
    assert relative_error(h, expected) <= 1e-6
    assert relative_error(h_last, last) <= 1e-6
    assert {name: float(value) for name, value in info.items()} == {
        "iterations": 0.0,
        "residual": 0.0,
        "fell_back": 0.0,
    }


def test_no_reset_and_no_h0_mean_zeros(rng):
    x = {n: jnp.float32(v) for n, v in random_inputs(rng, 65).items() if n != "h0"}
    h, h_last, _ = jax.jit(lambda x: gated_scan(**x))(x)
    exact = {n: np.float64(v) for n, v in x.items()}
    zeros = np.zeros((BATCH, WIDTH))
    expected = gated_loop(**exact, h0=zeros, reset=np.zeros((BATCH, 65), bool))
    assert relative_error(h, expected) <= 1e-5
    assert relative_error(h_last, expected[:, -1]) <= 1e-5


def test_vmap_and_checkpoint_change_nothing(rng, backend):
    stack = [random_inputs(rng, 17) for _ in range(2)]
    stacked = {n: jnp.float32(np.stack([s[n] for s in stack])) for n in NAMES}
    reset = jnp.asarray(rng.random((BATCH, 17)) < 0.2)

    def loss(inputs):
        h, h_last, _ = gated_scan(**inputs, reset=reset, backend=backend)
        return jnp.sum(jnp.sin(h)) + jnp.sum(jnp.square(h_last))

    plain = jax.jit(jax.value_and_grad(loss))
    mapped = jax.jit(jax.vmap(jax.value_and_grad(loss)))(stacked)
    again = jax.jit(jax.value_and_grad(jax.checkpoint(loss)))
    for i in range(2):
        one = {name: x[i] for name, x in stacked.items()}
        value, gradient = plain(one)
        assert_close(mapped[0][i], value, 1e-6)
        assert_close({name: x[i] for name, x in mapped[1].items()}, gradient, 1e-6)
        assert_close(again(one)[1], gradient, 1e-6)


@pytest.mark.parametrize("weight", [1.0, 8.0])
def test_hessian_vector_product(weight, rng, x64, backend):
    """Reverse over reverse: the gradient rule must itself be differentiable, at every input."""
    point = {n: jnp.asarray(x) for n, x in random_inputs(rng, 9, weight).items()}
    direction = {n: jnp.asarray(rng.normal(size=x.shape)) for n, x in point.items()}
    reset = jnp.asarray(rng.random((BATCH, 9)) < 0.2)

    def loss(inputs):
        h, h_last, _ = gated_scan(**inputs, reset=reset, backend=backend)
        return jnp.sum(jnp.sin(h)) + jnp.sum(h_last**3)

    assert_second_order(loss, point, direction, step=1e-6, tolerance=1e-6)


def test_32768_tokens(rng, backend):
    """Finite values and gradients over the longest context, at both extremes of the decay."""
    length = 32768
    gamma = jnp.float32(np.broadcast_to([1e-6, 1 - 1e-6], (1, length, 2)))
    z = jnp.float32(rng.normal(size=(1, length, 2)))
    w, c = jnp.ones(2), jnp.zeros(2)

    def loss(gamma, z, w, c):
        h, h_last, _ = gated_scan(gamma, jnp.sqrt(1 - jnp.square(gamma)) * z, w, c, backend=backend)
        return jnp.mean(jnp.square(h)) + jnp.sum(h_last), h

    (_, h), gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True))(
        gamma, z, w, c
    )
    assert bool(jnp.all(jnp.isfinite(h)))
    for gradient in gradients:
        assert bool(jnp.all(jnp.isfinite(gradient)))
        assert float(jnp.max(jnp.abs(gradient))) > 0


def test_unknown_backend_is_an_error():
    x, w = jnp.ones((1, 2, 1)), jnp.ones(1)
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="'parallel'"):
        gated_scan(x, x, w, w, backend="parallel")


def test_wrong_shape_is_an_error():
    x = jnp.ones((1, 2, 3))
    with pytest.raises(jaxtyping.TypeCheckError):
        gated_scan(x, x, jnp.ones(4), jnp.ones(3))
