"""gated_scan against a float64 loop and gradients derived by hand, by both solvers."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mmrec_jax.models.mmrec.recurrence import gated_scan
from tests.models.mmrec.derivatives import (
    assert_second_order,
    assert_vmap_and_checkpoint_change_nothing,
)
from tests.models.mmrec.loops import OPTIMISED, assert_close, gated_loop, relative_error
from tests.models.mmrec.scans import gated_loops, random_resets

BATCH, WIDTH = 3, 4


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
    wide = jnp.promote_types(dtype, jnp.float32)
    g = jnp.asarray(rng.normal(size=exact["b"].shape), dtype)
    g_last = jnp.asarray(rng.normal(size=exact["h0"].shape), wide)
    for reset in resets:
        h, h_last, gradients = gated_loops(exact, reset, np.float64(g), np.float64(g_last))
        (got_h, got_last), got, info = value_and_gradients(
            narrow, jnp.asarray(reset), g, g_last, backend
        )
        assert not info["fell_back"]
        assert (got_h.dtype, got_last.dtype) == (dtype, wide)
        assert relative_error(got_h, h) <= tolerance
        assert relative_error(got_last, h_last) <= min(tolerance, 1e-5)
        assert_close(got, gradients, tolerance)


@pytest.mark.parametrize(
    ("backend", "length"),
    [*(("newton", length) for length in (1, 3, 1000)), ("sequential", 1000)],
)
def test_matches_float64_loop(length, rng, backend):
    check(
        random_inputs(rng, length),
        random_resets(rng, BATCH, length),
        rng,
        jnp.float32,
        1e-5,
        backend,
    )


def test_matches_float64_loop_where_the_gate_is_steep(rng, x64, backend):
    """|w| = 8: the Jacobian leaves [-1, 1] and float32 itself drifts, so double precision."""
    inputs = random_inputs(rng, 1000, weight=8.0)
    check(inputs, random_resets(rng, BATCH, 1000), rng, jnp.float64, 1e-8, backend)


def test_bfloat16_inputs_accumulate_in_float32(rng):
    """By every solver: what it gets is float32."""
    resets = random_resets(rng, BATCH, 1000)[1:2]
    check(random_inputs(rng, 1000), resets, rng, jnp.bfloat16, 2e-2, "sequential")


@pytest.mark.parametrize("gamma", [1e-6, 1 - 1e-6])
def test_extreme_decays(gamma, rng, backend):
    inputs = random_inputs(rng, 1000)
    inputs["gamma"] = np.full_like(inputs["gamma"], gamma)
    inputs["b"] = np.sqrt(1 - gamma**2) * rng.normal(size=inputs["b"].shape)
    check(inputs, random_resets(rng, BATCH, 1000), rng, jnp.float32, 1e-5, backend)


def test_a_steep_gate_over_32768_tokens_stays_finite(rng, backend):
    inputs = {name: jnp.float32(x) for name, x in random_inputs(rng, 32768, 8.0).items()}
    inputs["gamma"] = inputs["gamma"].at[..., :2].set(jnp.float32([1e-6, 1 - 1e-6]))
    ones = jnp.ones_like(inputs["b"])
    reset = jnp.zeros(ones.shape[:2], bool)
    outputs, gradients, _ = value_and_gradients(inputs, reset, ones, ones[:, 0], backend)
    for leaf in jax.tree.leaves((outputs, gradients)):
        assert bool(jnp.all(jnp.isfinite(leaf)))
        assert float(jnp.max(jnp.abs(leaf))) > 0


def test_no_reset_and_no_h0_mean_zeros(rng):
    x = {n: jnp.float32(v) for n, v in random_inputs(rng, 65).items() if n != "h0"}
    h, _, info = jax.jit(lambda x: gated_scan(**x))(x)
    exact = {n: np.float64(v) for n, v in x.items()}
    zeros = np.zeros((BATCH, WIDTH))
    expected = gated_loop(**exact, h0=zeros, reset=np.zeros((BATCH, 65), bool))
    assert relative_error(h, expected) <= 1e-5
    assert not any(info[name] for name in ("iterations", "residual", "fell_back"))


def test_vmap_and_checkpoint_change_nothing(rng, backend):
    reset = jnp.asarray(rng.random((BATCH, 17)) < 0.2)

    def loss(inputs):
        h, h_last, _ = gated_scan(**inputs, reset=reset, backend=backend)
        return jnp.sum(jnp.sin(h)) + jnp.sum(jnp.square(h_last))

    assert_vmap_and_checkpoint_change_nothing(loss, [random_inputs(rng, 17) for _ in range(2)])


def test_the_gradient_is_differentiable(rng, x64, backend):
    """At every input, also where the gate is steep."""
    reset = jnp.asarray(rng.random((BATCH, 9)) < 0.2)

    def loss(inputs):
        h, h_last, _ = gated_scan(**inputs, reset=reset, backend=backend)
        return jnp.sum(jnp.sin(h)) + jnp.sum(h_last**3)

    point = {n: jnp.asarray(x) for n, x in random_inputs(rng, 9).items()}
    point["w"] = point["w"] * jnp.asarray([1.0, 1.0, 8.0, 8.0])
    assert_second_order(loss, point, rng, step=1e-6, tolerance=1e-6)


def test_wrong_names_and_shapes_are_errors():
    x, w = jnp.ones((1, 2, 1)), jnp.ones(1)
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="'parallel'"):
        gated_scan(x, x, w, w, backend="parallel")
    with pytest.raises(jaxtyping.TypeCheckError):
        gated_scan(x, x, jnp.ones(2), w)
