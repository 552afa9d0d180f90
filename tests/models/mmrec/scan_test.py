"""linear_scan, every backend, against a float64 loop and gradients derived by hand."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mmrec_jax.models.mmrec import scan, scan_backends
from mmrec_jax.models.mmrec.scan import linear_scan, resolve_backend
from mmrec_jax.models.mmrec.scan_backends import BACKENDS, CHUNK
from mmrec_jax.models.mmrec.scan_table import Measurement, committed_table, fastest
from tests.models.mmrec.derivatives import (
    assert_second_order,
    assert_vmap_and_checkpoint_change_nothing,
)
from tests.models.mmrec.loops import relative_error
from tests.models.mmrec.scans import check, linear_inputs, linear_loops, random_resets

BATCH, WIDTH = 3, 4


def random_inputs(rng, length):
    return linear_inputs(rng, BATCH, length, WIDTH)


def check_linear(inputs, resets, rng, backend, reverse=False, **options):
    how = {"reverse": reverse, "backend": backend}
    loops = functools.partial(linear_loops, reverse=reverse)
    check(functools.partial(linear_scan, **how), loops, inputs, resets, rng, **options)


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks and a rest in few tokens, which compile in a moment."""
    monkeypatch.setattr(scan_backends, "CHUNK", 4)


_CASES = [("chunked", n, False) for n in (1, CHUNK, CHUNK + 1, 1000)]
_CASES += [("sequential", 33, False), ("associative", 1, False), ("associative", 33, False)]
_CASES += [("chunked", CHUNK + 1, True), ("sequential", 33, True), ("associative", 33, True)]


@pytest.mark.parametrize(("backend", "length", "reverse"), _CASES)
def test_matches_float64_loop(backend, length, reverse, rng):
    inputs, resets = random_inputs(rng, length), random_resets(rng, BATCH, length)
    check_linear(inputs, resets, rng, backend, reverse)


def test_bfloat16_inputs_accumulate_in_float32(rng):
    """By every backend: what it gets is float32."""
    reset = random_resets(rng, BATCH, 200)[1] & (np.arange(200) < 100)
    options = {"dtype": jnp.bfloat16, "tolerance": 2e-2}
    check_linear(random_inputs(rng, 200), [reset], rng, "sequential", **options)


def test_no_reset_and_no_h0_mean_zeros_and_a_decay_near_one_is_not_forgotten():
    """0.999 is 1.0 in bfloat16: the caller keeps decays in float32 and only b may be narrow."""
    a = jnp.full((1, 1000, 1), 0.999, jnp.float32)
    _, h_last = linear_scan(a, jnp.ones((1, 1000, 1), jnp.bfloat16))
    expected = (1 - np.float64(np.float32(0.999)) ** 1000) / (1 - np.float64(np.float32(0.999)))
    assert relative_error(h_last, [[expected]]) <= 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_vmap_and_checkpoint_change_nothing(backend, rng, small_chunks):
    reset = jnp.asarray(random_resets(rng, BATCH, 17)[1])

    def loss(inputs):
        h, h_last = linear_scan(**inputs, reset=reset, backend=backend)
        return jnp.sum(jnp.sin(h)) + jnp.sum(jnp.square(h_last))

    assert_vmap_and_checkpoint_change_nothing(loss, [random_inputs(rng, 17) for _ in range(2)])


@pytest.mark.parametrize(
    ("backend", "reverse"), [*((name, False) for name in BACKENDS), ("chunked", True)]
)
def test_the_gradient_is_differentiable(backend, reverse, rng, x64, small_chunks):
    reset = jnp.asarray(random_resets(rng, BATCH, 9)[1])

    def loss(inputs):
        h, h_last = linear_scan(**inputs, reset=reset, reverse=reverse, backend=backend)
        return jnp.sum(jnp.sin(h)) + jnp.sum(h_last**3)

    point = {name: jnp.asarray(x) for name, x in random_inputs(rng, 9).items()}
    assert_second_order(loss, point, rng, step=1e-5, tolerance=1e-7)


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


def test_memory_of_chunked_does_not_grow_with_time():
    """But for one copy of the decays: a_{t+1}, an input of the reversed scan."""
    batch, width, lengths = 2, 32, (8 * CHUNK, 32 * CHUNK + 5)

    def temporary_bytes(length):
        def gradients(a, b, h0, g, g_last):
            outputs, pull = jax.vjp(lambda *x: linear_scan(*x, backend="chunked"), a, b, h0)
            return outputs, pull((g, g_last))

        long = jax.ShapeDtypeStruct((batch, length, width), jnp.float32)
        one = jax.ShapeDtypeStruct((batch, width), jnp.float32)
        program = jax.jit(gradients).lower(long, long, one, long, one).compile()
        return program.memory_analysis().temp_size_in_bytes

    short, long = map(temporary_bytes, lengths)
    shifted, chunk = 4 * batch * width * (lengths[1] - lengths[0]), 4 * batch * width * CHUNK
    assert abs(long - short - shifted) <= 4 * chunk
    assert long - shifted <= 16 * chunk


def test_wrong_names_and_shapes_are_errors():
    x = jnp.ones((1, 2, 1))
    with pytest.raises((ValueError, jaxtyping.TypeCheckError), match="'parallel'; use auto"):
        linear_scan(x, x, backend="parallel")
    with pytest.raises(jaxtyping.TypeCheckError):
        linear_scan(jnp.ones((1, 2, 3)), jnp.ones((1, 2, 4)))


# Which backend "auto" is.


def row(device="cpu", channels=512, length=256, backend="sequential", gradient=1.0):
    return Measurement(device, channels, length, backend, 0.5, gradient, 0.25, 2.0)


def test_the_least_time_with_gradients_wins_at_the_nearest_shape_in_log_space():
    table = [
        row(channels=512, length=256, backend="sequential", gradient=2),
        row(channels=512, length=256, backend="chunked", gradient=1),
        row(channels=512, length=4096, backend="associative", gradient=1),
        row(channels=8192, length=256, backend="sequential", gradient=9),
    ]
    for shape, expected in {
        (512, 256): "chunked",
        (0, 1): "chunked",
        (512, 1023): "chunked",  # the geometric mean of 256 and 4096 is 1024
        (512, 1025): "associative",  # and their mean 2176
        (10**6, 256): "sequential",
    }.items():
        assert fastest(table, ["cpu"], *shape) == expected, shape


def test_the_most_specific_kind_with_rows_counts_and_an_unmeasured_one_is_associative():
    table = [row("gpu"), row("nvidia h100", length=4096, backend="chunked")]
    assert fastest(table, ["nvidia h100", "gpu"], 512, 256) == "chunked"
    assert fastest(table, ["nvidia a100", "gpu"], 512, 256) == "sequential"
    assert fastest(table, ["tpu v4", "tpu"], 512, 256) == "associative"


def test_the_committed_table_has_every_backend_at_every_shape():
    shapes = {(x.device, x.channels, x.length) for x in committed_table()}
    found = sorted((x.device, x.channels, x.length, x.backend) for x in committed_table())
    assert found == sorted((*shape, name) for shape in shapes for name in BACKENDS)
    assert {("cpu", 512, 256), ("cpu", 8192, 16384)} <= shapes


def test_auto_goes_by_the_table(monkeypatch):
    rows = [
        row(channels=6, length=4, backend="chunked", gradient=2),
        row(channels=6, length=4, backend="sequential", gradient=3),
        row(channels=4, length=6, backend="sequential"),
    ]
    monkeypatch.setattr(scan, "committed_table", lambda: rows)
    assert resolve_backend("associative", 4, 6) == "associative"
    used = []
    solvers = {
        name: lambda a, b, h0, reverse, name=name: used.append(name) or b for name in BACKENDS
    }
    monkeypatch.setattr(scan, "BACKENDS", solvers)
    for batch, length, width in ((2, 4, 3), (2, 6, 2)):
        jax.eval_shape(linear_scan, *[jnp.ones((batch, length, width))] * 2)
    assert used == ["chunked", "sequential"]
