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
from tests.models.mmrec.loops import assert_close, gated_loop, relative_error
from tests.models.mmrec.scans import (
    check,
    gated_loops,
    linear_inputs,
    linear_loops,
    random_resets,
)

BATCH, WIDTH = 2, 128
# One token, fewer than are loaded ahead, and more than a block, with a rest.
LENGTHS = [1, 3, 75]


@pytest.fixture(params=["gpu", "tpu"], autouse=True)
def target(request):
    found = KernelTarget(request.param, interpret=True)
    with kernels_for(found):
        yield found


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


def check_kernel(solve, loops, inputs, length, rng):
    resets = random_resets(rng, BATCH, length)
    check(functools.partial(solve, backend="kernel"), loops, inputs, resets, rng)


@pytest.mark.parametrize("reverse", [False, True])
def test_linear_scan_matches_float64_loop(reverse, rng):
    solve, loops = (functools.partial(f, reverse=reverse) for f in (linear_scan, linear_loops))
    check_kernel(solve, loops, linear_inputs(rng, BATCH, 75, WIDTH), 75, rng)


@pytest.mark.parametrize("length", LENGTHS)
def test_gated_scan_matches_float64_loop(length, rng):
    check_kernel(gated_scan, gated_loops, gated_inputs(rng, length), length, rng)


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
@pytest.mark.parametrize("loss", [linear_loss, gated_loss], ids=["linear", "gated"])
def test_a_hessian_vector_product_is_that_of_stepping_through_time(loss, rng):
    """Which `scan_test` and `recurrence_test` compare with differences, in double precision."""
    reset = jnp.asarray(rng.random((BATCH, 9)) < 0.2)
    linear = loss is linear_loss
    inputs = linear_inputs(rng, BATCH, 9, WIDTH) if linear else gated_inputs(rng, 9)
    point = {name: jnp.float32(x) for name, x in inputs.items()}
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
