"""The kernels of the long-term memory, interpreted, against a float64 loop and its gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmrec_jax.models.mmrec import delta_kernel
from mmrec_jax.models.mmrec.kernels import KernelTarget, kernels_for
from mmrec_jax.models.mmrec.memory import delta_scan
from mmrec_jax.models.partition import ROWS
from mmrec_jax.train.mesh import arrange
from tests.models.mmrec.derivatives import (
    assert_vmap_and_checkpoint_change_nothing,
)
from tests.models.mmrec.loops import assert_close, delta_loop, delta_loop_gradient, relative_error

BATCH, HEADS, SLOTS, VALUES, CHUNK = 2, 2, 16, 32, 16


@pytest.fixture(autouse=True)
def platform(request, monkeypatch):
    """Kernels for GPUs, if the test does not say for what."""
    monkeypatch.setattr(delta_kernel, "_VALUES", 16)  # so that the columns of M are split
    found = getattr(request, "param", "gpu")
    with kernels_for(KernelTarget(found, interpret=True)):
        yield found


def random_inputs(rng, length, kind="random"):
    """Correlated unit keys, padding, and the hard cases by name."""

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    shape = (BATCH, length, HEADS)
    padding = rng.random((*shape[:2], 1)) < 0.1
    keys = unit(
        unit(rng.normal(size=(BATCH, 1, HEADS, SLOTS))) + unit(rng.normal(size=(*shape, SLOTS)))
    )
    alpha, beta = 1 - rng.uniform(0, 0.2, shape) ** 2, rng.uniform(0.01, 0.99, shape)
    if kind == "fast forgetting":
        alpha = np.full(shape, 1e-3)
    if kind == "identical keys":
        keys, alpha = np.broadcast_to(keys[:, :1], keys.shape), np.full(shape, 0.999)
        beta = np.full(shape, 0.95)
    return {
        "q": unit(rng.normal(size=(*shape, SLOTS))),
        "k": keys,
        "v": rng.normal(size=(*shape, VALUES)),
        "alpha": np.where(padding, 1, alpha),
        "beta": np.where(padding, 0, beta),
        "m0": rng.normal(size=(BATCH, HEADS, SLOTS, VALUES)),
    }


def random_resets(rng, length):
    reset = rng.random((BATCH, length)) < 0.1
    reset[0, 0] = reset[1, -1] = True
    return reset


@functools.cache
def value_and_gradients(platform, correct):
    """Jitted; once for each platform, since a program keeps the kernels that it was traced with."""

    @jax.jit
    def run(inputs, reset, g, g_last):
        solve = functools.partial(delta_scan, reset=reset, chunk=CHUNK, error_correction=correct)
        outputs, pull = jax.vjp(lambda x: solve(**x), inputs)
        return outputs, pull((g, g_last))[0]

    return run


@pytest.mark.parametrize(
    ("platform", "length", "kind", "correct", "dtype", "tolerance"),
    [
        ("gpu", 1, "random", True, "float32", 1e-5),
        ("gpu", 37, "random", True, "float32", 1e-5),
        ("gpu", 37, "random", False, "float32", 1e-5),
        ("gpu", 37, "identical keys", True, "float32", 1e-5),
        ("gpu", 37, "fast forgetting", True, "float32", 1e-5),
        ("tpu", 37, "random", True, "float32", 1e-5),
        ("tpu", 37, "fast forgetting", True, "float32", 1e-5),
        ("tpu", 37, "random", True, "bfloat16", 2e-2),
    ],
    indirect=["platform"],
)
def test_kernels_match_a_float64_loop(platform, length, kind, correct, dtype, tolerance, rng):
    inputs = random_inputs(rng, length, kind)
    narrow = {name: jnp.asarray(x, jnp.float32) for name, x in inputs.items()}
    narrow |= {name: narrow[name].astype(dtype) for name in "qkv"}
    exact = {name: np.asarray(x, np.float64) for name, x in narrow.items()}
    g = jnp.asarray(rng.normal(size=inputs["v"].shape), dtype)
    g_last = jnp.float32(rng.normal(size=inputs["m0"].shape))
    reset = random_resets(rng, length)
    run = value_and_gradients(platform, correct)
    outputs, gradients = run(narrow, reset, g, g_last)
    assert outputs[0].dtype == dtype
    definition = functools.partial(delta_loop, reset=reset, error_correction=correct)
    for got, expected in zip(outputs, definition(**exact), strict=True):
        assert relative_error(got, expected) <= tolerance
    cotangents = np.asarray(g, np.float64), np.asarray(g_last, np.float64)
    expected = delta_loop_gradient(exact, reset, *cotangents, error_correction=correct)
    if kind == "fast forgetting":  # all rounding of G = 16 log(1e-3) is in it
        assert relative_error(gradients.pop("alpha"), expected.pop("alpha")) <= 1e-4
    assert_close(gradients, expected, tolerance)


def loss_over_time(reset):
    """Of a loop over time whose carry is the memory."""

    def loss(x):
        def step(m, _):
            r, m = delta_scan(**x | {"m0": m}, reset=reset, chunk=CHUNK)
            return m, jnp.sum(r**2)

        m_last, terms = jax.lax.scan(step, x["m0"], None, length=2)
        return jnp.sum(terms) + jnp.sum(m_last**3)

    return loss


@pytest.mark.soak
def test_vmap_and_checkpoint_change_nothing(rng):
    loss = loss_over_time(jnp.asarray(random_resets(rng, 5)))
    assert_vmap_and_checkpoint_change_nothing(loss, [random_inputs(rng, 5) for _ in range(2)])


def test_a_second_derivative_is_that_of_plain_jax(rng):
    loss = loss_over_time(jnp.asarray(random_resets(rng, 5)))
    point = {name: jnp.float32(x) for name, x in random_inputs(rng, 5).items()}
    direction = {name: jnp.float32(rng.normal(size=x.shape)) for name, x in point.items()}

    def product(point):
        def along(x):
            return sum(jnp.vdot(y, direction[n]) for n, y in jax.grad(loss)(x).items())

        return jax.jit(jax.grad(along))(point)

    got = product(point)
    with kernels_for(None):
        assert_close(got, product(point), 1e-4)


def test_each_device_solves_its_own_rows(rng):
    mesh = arrange(jax.devices()[:2])
    inputs = {name: jnp.float32(x) for name, x in random_inputs(rng, 20).items()}
    reset = jnp.asarray(random_resets(rng, 20))

    def solved(x, reset):
        r, m_last = delta_scan(**x, reset=reset, chunk=CHUNK)
        return jnp.sum(jnp.sin(r)) + jnp.sum(m_last)

    expected = jax.jit(jax.grad(solved))(inputs, reset)
    split = NamedSharding(mesh, PartitionSpec(ROWS))
    with jax.set_mesh(mesh):
        placed = jax.device_put((inputs, reset), split)
        program = jax.jit(jax.grad(solved)).lower(*placed).compile()
        assert_close(program(*placed), expected, 1e-6)
    assert "all-gather" not in program.as_text()


@pytest.mark.parametrize(
    ("changed", "chunk"),
    [({"slots": 12}, CHUNK), ({}, 24), ({}, 256), ({"dtype": "float16"}, CHUNK)],
)
def test_what_no_kernel_takes_is_computed_by_plain_jax(changed, chunk, rng):
    inputs = {name: jnp.float32(x) for name, x in random_inputs(rng, 30).items()}
    for name in ("q", "k"):
        inputs[name] = inputs[name][..., : changed.get("slots")]
        inputs[name] = inputs[name].astype(changed.get("dtype", "float32"))
    inputs["m0"] = inputs["m0"][:, :, : changed.get("slots")]

    def kernels(chunk, inputs):
        return str(jax.make_jaxpr(functools.partial(delta_scan, chunk=chunk))(**inputs)).count(
            "pallas_call"
        )

    assert kernels(chunk, inputs) == 0
    assert kernels(CHUNK, {n: jnp.float32(x) for n, x in random_inputs(rng, 30).items()}) == 1
