"""The kernels, interpreted, against float64 loops and gradients derived by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmrec_jax.models.mmrec.kernels import KernelTarget, kernels_for
from mmrec_jax.models.mmrec.recurrence import gated_scan
from mmrec_jax.models.mmrec.scan import linear_scan
from mmrec_jax.models.mmrec.scan_kernel import takes
from mmrec_jax.models.partition import ROWS
from mmrec_jax.train.mesh import arrange
from tests.models.mmrec.derivatives import assert_vmap_and_checkpoint_change_nothing
from tests.models.mmrec.loops import (
    assert_close,
    gated_loop,
    gated_loop_gradient,
    linear_loop,
    linear_loop_gradient,
    relative_error,
)

BATCH, WIDTH = 2, 128
# One token, fewer than are loaded ahead, and more than a block, with a rest.
LENGTHS = [1, 3, 75]


@pytest.fixture(params=["gpu", "tpu"], autouse=True)
def target(request):
    found = KernelTarget(request.param, interpret=True)
    with kernels_for(found):
        yield found


def linear_inputs(rng, length):
    shape = (BATCH, length, WIDTH)
    sign = np.where(rng.random(shape) < 0.2, -1, 1)
    return {
        "a": sign * (1 - np.exp(rng.uniform(np.log(1e-3), 0, shape))),
        "b": rng.normal(size=shape),
        "h0": rng.normal(size=(BATCH, WIDTH)),
    }


def gated_inputs(rng, length):
    """Decays from 1e-3 to 1, padding included."""
    shape = (BATCH, length, WIDTH)
    gamma = 1 - np.exp(rng.uniform(np.log(1e-3), 0, shape))
    gamma[:, ::7] = 1e-3
    b = np.sqrt(1 - gamma**2) * rng.normal(size=shape)
    if length > 2:
        gamma[0, 1], b[0, 1] = 1, 0
    return {
        "gamma": gamma,
        "b": b,
        "w": rng.normal(size=WIDTH),
        "c": rng.normal(size=WIDTH),
        "h0": rng.normal(size=(BATCH, WIDTH)),
    }


def resets(rng, length):
    edges = np.zeros((BATCH, length), bool)
    edges[:, [0, -1]] = True
    return [np.zeros((BATCH, length), bool), rng.random((BATCH, length)) < 0.1, edges]


def solved(solve, inputs, reset, g, g_last):
    """Outputs, and the gradients of `sum(g h) + sum(g_last h_last)`."""
    outputs, pull = jax.vjp(lambda x: solve(**x, reset=reset, backend="kernel")[:2], inputs)
    return outputs, pull((g, g_last))[0]


def check(solve, loops, inputs, rng):
    """Values and gradients against the loops on the same numbers."""
    narrow = {name: np.float32(x) for name, x in inputs.items()}
    exact = {name: np.float64(x) for name, x in narrow.items()}
    g, g_last = (np.float32(rng.normal(size=exact[name].shape)) for name in ("b", "h0"))
    run = jax.jit(functools.partial(solved, solve))
    for reset in resets(rng, exact["b"].shape[1]):
        h, h_last, gradients = loops(exact, reset, np.float64(g), np.float64(g_last))
        (got_h, got_last), got = run(narrow, reset, g, g_last)
        assert relative_error(got_h, h) <= 1e-5
        assert relative_error(got_last, h_last) <= 1e-5
        assert_close(got, gradients, 1e-5)


def linear_loops(x, reset, g, g_last, reverse=False):
    h, h_last = linear_loop(**x, reset=reset, reverse=reverse)
    gradient = linear_loop_gradient(x["a"], x["h0"], reset, h, g, g_last, reverse=reverse)
    return h, h_last, gradient


def gated_loops(x, reset, g, g_last):
    h = gated_loop(**x, reset=reset)
    return h, h[:, -1], gated_loop_gradient(x | {"reset": reset}, h, g, g_last)


@pytest.mark.parametrize("reverse", [False, True])
def test_linear_scan_matches_float64_loop(reverse, rng):
    solve, loops = (functools.partial(f, reverse=reverse) for f in (linear_scan, linear_loops))
    check(solve, loops, linear_inputs(rng, 75), rng)


@pytest.mark.parametrize("length", LENGTHS)
def test_gated_scan_matches_float64_loop(length, rng):
    check(gated_scan, gated_loops, gated_inputs(rng, length), rng)


def test_more_rows_than_a_block_has(rng, target):
    if target.platform == "tpu":
        inputs = gated_inputs(rng, 3)
        inputs |= {n: np.concatenate([x] * 5)[:9] for n, x in inputs.items() if x.ndim > 1}
        reset = np.zeros((9, 3), bool)
        h, _, _ = gated_scan(**{n: jnp.float32(x) for n, x in inputs.items()}, backend="kernel")
        assert relative_error(h, gated_loop(**inputs, reset=reset)) <= 1e-5


def layers_loss(solve, inputs, reset, backend="kernel"):
    """Two layers, compiled once."""

    def layer(b, _):
        h, h_last, *_ = solve(**inputs | {"b": b}, reset=reset, backend=backend)
        return h, jnp.sum(jnp.square(h_last))

    h, last = jax.lax.scan(layer, inputs["b"], None, length=2)
    return jnp.sum(jnp.sin(h)) + jnp.sum(last)


gated_loss = functools.partial(layers_loss, gated_scan)
linear_loss = functools.partial(layers_loss, linear_scan)


def test_vmap_and_checkpoint_change_nothing(rng):
    reset = jnp.asarray(rng.random((BATCH, 5)) < 0.2)
    points = [gated_inputs(rng, 5) for _ in range(2)]
    assert_vmap_and_checkpoint_change_nothing(functools.partial(gated_loss, reset=reset), points)


# Of what only calls the kernels, one platform is enough.
on_one_platform = pytest.mark.parametrize("target", ["tpu"], indirect=True)


@on_one_platform
@pytest.mark.parametrize(
    ("loss", "random_inputs"), [(linear_loss, linear_inputs), (gated_loss, gated_inputs)]
)
def test_a_hessian_vector_product_is_that_of_stepping_through_time(loss, random_inputs, rng):
    """Which `scan_test` and `recurrence_test` compare with differences, in double precision."""
    reset = jnp.asarray(rng.random((BATCH, 9)) < 0.2)
    point = {name: jnp.float32(x) for name, x in random_inputs(rng, 9).items()}
    direction = {name: jnp.float32(rng.normal(size=x.shape)) for name, x in point.items()}

    def product(backend):
        def along(inputs):
            gradients = jax.grad(loss)(inputs, reset, backend)
            return sum(jnp.vdot(x, direction[name]) for name, x in gradients.items())

        return jax.jit(jax.grad(along))(point)

    assert_close(product("kernel"), product("sequential"), 1e-5)


@on_one_platform
def test_each_device_solves_its_own_rows(target, rng):
    mesh, rows = arrange(jax.devices(), data=2, fsdp=2), 4
    inputs = {name: jnp.float32(x) for name, x in gated_inputs(rng, 5).items()}
    inputs |= {name: jnp.concatenate([inputs[name]] * 2) for name in ("gamma", "b", "h0")}
    reset = jnp.asarray(rng.random((rows, 5)) < 0.2)
    alone = jax.jit(jax.value_and_grad(gated_loss))(inputs, reset)
    with jax.set_mesh(mesh), kernels_for(target):
        split = NamedSharding(mesh, PartitionSpec(ROWS))
        placed = {name: jax.device_put(inputs[name], split) for name in ("gamma", "b", "h0")}
        lowered = jax.jit(jax.value_and_grad(gated_loss)).lower(inputs | placed, reset)
        apart = lowered.compile()(inputs | placed, reset)
    assert "manual_axes" in lowered.as_text()
    assert_close(apart[1], alone[1], 1e-6)


def test_auto_takes_the_kernel_where_it_can(target):
    def used(length=4, width=WIDTH, dtype=jnp.float32, solve=gated_scan):
        x, one = jnp.ones((BATCH, length, width), dtype), jnp.ones(width, dtype)
        both = (x, x, one, one) if solve is gated_scan else (x, x)
        # A function of its own: what was traced before is not traced again.
        return "pallas_call" in str(jax.make_jaxpr(lambda *x: solve(*x))(*both))

    for solve in (linear_scan, gated_scan):
        assert used(solve=solve)
        assert not used(solve=solve, length=1)
        assert not used(solve=solve, width=WIDTH + 16)
    assert takes(target, (2, 2**23, 128)) == (target.platform == "tpu")
    for solve in (linear_scan, gated_scan):
        with kernels_for(None):
            assert not used(solve=solve)
        with jax.enable_x64(True):
            assert not used(solve=solve, dtype=jnp.float64)


def test_a_kernel_that_there_is_not_is_an_error():
    x = jnp.ones((1, 2, 16))
    with pytest.raises(ValueError, match=r"no kernel for float32 \(1, 2, 16\)"):
        linear_scan(x, x, backend="kernel")
    with kernels_for(None), pytest.raises(ValueError, match="no kernel"):
        gated_scan(x, x, x[0, 0], x[0, 0], backend="kernel")
