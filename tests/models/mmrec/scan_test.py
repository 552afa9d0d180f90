"""linear_scan, every backend, against a float64 loop and gradients derived by hand."""

import itertools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mmrec_jax.models.mmrec import scan, scan_backends
from mmrec_jax.models.mmrec.scan import linear_scan, resolve_backend
from mmrec_jax.models.mmrec.scan_backends import CHUNK
from mmrec_jax.models.mmrec.scan_table import Measurement
from tests.models.mmrec.loops import (
    assert_close,
    linear_loop,
    linear_loop_gradient,
    relative_error,
)
from tests.models.mmrec.second_order import assert_second_order

BACKENDS = ["sequential", "associative", "chunked"]
LENGTHS = sorted({1, 3, 63, 64, 65, CHUNK - 1, CHUNK, CHUNK + 1, 1000})
BATCH, WIDTH = 3, 4


def random_inputs(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """Decays of both signs, from forgetting at once to remembering for a thousand tokens."""
    shape = (BATCH, length, WIDTH)
    sign = np.where(rng.random(shape) < 0.2, -1, 1)
    return {
        "a": sign * (1 - np.exp(rng.uniform(np.log(1e-3), 0, shape))),
        "b": rng.normal(size=shape),
        "h0": rng.normal(size=(BATCH, WIDTH)),
    }


def random_resets(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """None, random ones, and one at the first and the last token."""
    edges = np.zeros((BATCH, length), bool)
    edges[:, [0, -1]] = True
    return {
        "none": np.zeros((BATCH, length), bool),
        "random": rng.random((BATCH, length)) < 0.1,
        "edges": edges,
    }


def value_and_gradients(backend: str, reverse: bool = False):
    """Jitted: (a, b, h0), reset, cotangents -> (h, h_last), gradients."""

    @jax.jit
    def run(inputs, reset, g, g_last):
        def solve(x):
            return linear_scan(**x, reset=reset, reverse=reverse, backend=backend)

        outputs, pull = jax.vjp(solve, inputs)
        return outputs, pull((g, g_last))[0]

    return run


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks and a rest in few tokens, which compile in a moment."""
    monkeypatch.setattr(scan_backends, "CHUNK", 4)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("backend", "length"), [*itertools.product(BACKENDS, LENGTHS), ("chunked", 4096)]
)
def test_matches_float64_loop(backend, length, reverse, rng):
    run = value_and_gradients(backend, reverse)
    inputs = random_inputs(rng, length)
    single = {name: jnp.asarray(x, jnp.float32) for name, x in inputs.items()}
    inputs = {name: np.asarray(x, np.float64) for name, x in single.items()}
    g, g_last = rng.normal(size=(BATCH, length, WIDTH)), rng.normal(size=(BATCH, WIDTH))
    for name, reset in random_resets(rng, length).items():
        h, h_last = linear_loop(**inputs, reset=reset, reverse=reverse)
        gradients = linear_loop_gradient(
            inputs["a"], inputs["h0"], reset, h, g, g_last, reverse=reverse
        )
        (got_h, got_last), got = run(single, reset, jnp.float32(g), jnp.float32(g_last))
        assert relative_error(got_h, h) <= 1e-5, name
        assert relative_error(got_last, h_last) <= 1e-5, name
        assert_close(got, gradients, 1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_reset_and_no_h0_mean_zeros(backend, rng):
    x = {n: jnp.float32(v) for n, v in random_inputs(rng, 65).items()}
    h, h_last = jax.jit(lambda a, b: linear_scan(a, b, backend=backend))(x["a"], x["b"])
    a, b = np.float64(x["a"]), np.float64(x["b"])
    expected, last = linear_loop(a, b, np.zeros((BATCH, WIDTH)), np.zeros((BATCH, 65), bool))
    assert relative_error(h, expected) <= 1e-5
    assert relative_error(h_last, last) <= 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_inputs_accumulate_in_float32(backend, rng):
    length = 1000
    low = {n: jnp.asarray(v, jnp.bfloat16) for n, v in random_inputs(rng, length).items()}
    exact = {n: np.asarray(x, np.float64) for n, x in low.items()}
    reset = random_resets(rng, length)["random"] & (np.arange(length) < 900)
    g = jnp.asarray(rng.normal(size=(BATCH, length, WIDTH)), jnp.bfloat16)
    g_last = jnp.float32(rng.normal(size=(BATCH, WIDTH)))
    h, h_last = linear_loop(**exact, reset=reset)
    gradients = linear_loop_gradient(
        exact["a"], exact["h0"], reset, h, np.float64(g), np.float64(g_last)
    )
    (got_h, got_last), got = value_and_gradients(backend)(low, reset, g, g_last)
    assert got_h.dtype == jnp.bfloat16
    assert got_last.dtype == jnp.float32
    assert relative_error(got_h, h) <= 2e-2
    assert relative_error(got_last, h_last) <= 1e-5
    assert_close(got, gradients, 2e-2)


def test_decay_near_one_in_bfloat16_is_not_forgotten():
    """0.999 is 1.0 in bfloat16: the caller keeps decays in float32 and only b may be narrow."""
    a = jnp.full((1, 1000, 1), 0.999, jnp.float32)
    b = jnp.ones((1, 1000, 1), jnp.bfloat16)
    _, h_last = linear_scan(a, b)
    expected = (1 - np.float64(np.float32(0.999)) ** 1000) / (1 - np.float64(np.float32(0.999)))
    assert relative_error(h_last, [[expected]]) <= 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_vmap_and_checkpoint_change_nothing(backend, rng, small_chunks):
    length = 17
    stack = [random_inputs(rng, length) for _ in range(2)]
    stacked = {n: jnp.float32(np.stack([s[n] for s in stack])) for n in stack[0]}
    reset = jnp.asarray(random_resets(rng, length)["random"])

    def loss(inputs):
        h, h_last = linear_scan(**inputs, reset=reset, backend=backend)
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


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_hessian_vector_product(backend, reverse, rng, x64, small_chunks):
    length = 9
    point = {name: jnp.asarray(x) for name, x in random_inputs(rng, length).items()}
    direction = {name: jnp.asarray(rng.normal(size=x.shape)) for name, x in point.items()}
    reset = jnp.asarray(random_resets(rng, length)["random"])

    def loss(inputs):
        h, h_last = linear_scan(**inputs, reset=reset, reverse=reverse, backend=backend)
        return jnp.sum(jnp.sin(h)) + jnp.sum(h_last**3)

    assert_second_order(loss, point, direction, step=1e-5, tolerance=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_32768_tokens(backend, rng):
    """The influence of every token on the last state is a product of decays, known in float64.

    Just under 1 the roundings of a product all have one sign: 1e-4 after 32,768 of them.
    """
    length = 32768
    a = jnp.float32(1 - rng.uniform(0, 1e-4, (1, length, 1)))

    def last(b, h0):
        return linear_scan(a, b, h0, backend=backend)[1][0, 0]

    b, h0 = jnp.float32(rng.normal(size=(1, length, 1))), jnp.ones((1, 1))
    db, dh0 = jax.jit(jax.grad(last, argnums=(0, 1)))(b, h0)
    from_end = np.cumprod(np.float64(a)[0, ::-1, 0])[::-1]
    assert relative_error(db[0, :, 0], np.append(from_end[1:], 1)) <= 2e-4
    assert relative_error(dh0, from_end[None, :1]) <= 2e-4


def test_unknown_backend_is_an_error():
    x = jnp.ones((1, 2, 1))
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="'parallel'"):
        linear_scan(x, x, backend="parallel")
    with pytest.raises(ValueError, match="'parallel'; use auto, sequential, associative, chunked"):
        resolve_backend("parallel", 1, 2)


def test_auto_goes_by_the_table(monkeypatch):
    rows = [
        Measurement("cpu", 6, 4, "chunked", 1, 2, 0, 0),
        Measurement("cpu", 6, 4, "sequential", 1, 3, 0, 0),
        Measurement("cpu", 4, 6, "sequential", 1, 1, 0, 0),
    ]
    monkeypatch.setattr(scan, "committed_table", lambda: rows)
    assert resolve_backend("auto", 6, 4) == "chunked"
    assert resolve_backend("auto", 4, 6) == "sequential"
    assert resolve_backend("associative", 4, 6) == "associative"
    used = []
    solvers = {
        name: lambda a, b, h0, reverse, name=name: used.append(name) or b for name in BACKENDS
    }
    monkeypatch.setattr(scan, "BACKENDS", solvers)
    for batch, length, width in ((2, 4, 3), (2, 6, 2)):
        jax.eval_shape(linear_scan, *[jnp.ones((batch, length, width))] * 2)
    assert used == ["chunked", "sequential"]


def test_wrong_shape_is_an_error():
    with pytest.raises(jaxtyping.TypeCheckError):
        linear_scan(jnp.ones((1, 2, 3)), jnp.ones((1, 2, 4)))
