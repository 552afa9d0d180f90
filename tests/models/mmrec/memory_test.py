"""delta_steps against a float64 loop of the definition; delta_scan against delta_steps."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mmrec_jax.models.mmrec.memory import delta_scan, delta_steps
from tests.models.mmrec.loops import assert_close, delta_loop, relative_error

BATCH, HEADS, SLOTS, VALUES = 2, 2, 5, 3
# Every chunk size over a long sequence, then lengths at, under and over chunk borders.
DELTA_CASES = [(200, c) for c in (1, 8, 16, 32, 64, 100)]
DELTA_CASES += [(65, 16), (64, 64), (63, 32), (3, 2), (1, 8)]
DECAY_CASES = [(200, 32), (3, 8)]
CASES = [(*case, True) for case in DELTA_CASES] + [(*case, False) for case in DECAY_CASES]


def random_inputs(
    rng: np.random.Generator, length: int, lowest_alpha: float = 0.8, common: float = 0.5
) -> dict[str, np.ndarray]:
    """Correlated unit keys, and tokens that (as padding) neither write nor forget."""

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    shape = (BATCH, length, HEADS)
    shared = common * unit(rng.normal(size=(BATCH, 1, HEADS, SLOTS)))
    padding = rng.random(shape[:2]) < 0.1
    alpha = 1 - rng.uniform(0, 1 - lowest_alpha, shape) ** 2
    return {
        "q": unit(rng.normal(size=(*shape, SLOTS))),
        "k": unit(shared + unit(rng.normal(size=(*shape, SLOTS)))),
        "v": rng.normal(size=(*shape, VALUES)),
        "alpha": np.where(padding[..., None], 1, alpha),
        "beta": np.where(padding[..., None], 0, rng.uniform(0.01, 0.99, shape)),
        "m0": rng.normal(size=(BATCH, HEADS, SLOTS, VALUES)),
    }


def random_resets(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """None; many (two in one chunk); the first token; both sides of every border of 8."""
    borders = np.zeros((BATCH, length), bool)
    borders[0, ::8] = True
    borders[1, 7::8] = True
    first = np.zeros((BATCH, length), bool)
    first[:, 0] = True
    return {
        "none": np.zeros((BATCH, length), bool),
        "first": first,
        "random": rng.random((BATCH, length)) < 0.1,
        "borders": borders,
    }


@functools.cache
def value_and_gradients(function, **options):
    """Jitted: inputs, reset, cotangents -> (r, m_last), gradients with respect to all inputs."""

    @jax.jit
    def run(inputs, reset, g, g_last):
        outputs, pull = jax.vjp(lambda x: function(**x, reset=reset, **options), inputs)
        return outputs, pull((g, g_last))[0]

    return run


def cotangents(rng, length):
    return (
        rng.normal(size=(BATCH, length, HEADS, VALUES)),
        rng.normal(size=(BATCH, HEADS, SLOTS, VALUES)),
    )


def single(tree):
    return {name: jnp.asarray(x, jnp.float32) for name, x in tree.items()}


def in_double(inputs, reset, g, g_last, error_correction):
    """Values and gradients of the step form in float64, on the same (float32) numbers."""
    with jax.enable_x64(True):
        inputs = {name: jnp.asarray(np.float64(x)) for name, x in inputs.items()}
        run = value_and_gradients(delta_steps, error_correction=error_correction)
        return jax.device_get(
            run(inputs, jnp.asarray(reset), jnp.asarray(np.float64(g)), jnp.float64(g_last))
        )


@pytest.mark.parametrize("error_correction", [True, False])
@pytest.mark.parametrize("length", [1, 40])
def test_steps_match_float64_loop(length, error_correction, rng, x64):
    inputs = random_inputs(rng, length)
    double = {name: jnp.asarray(x) for name, x in inputs.items()}
    g, g_last = cotangents(rng, length)
    directions = {name: rng.normal(size=x.shape) for name, x in inputs.items()}
    run = value_and_gradients(delta_steps, error_correction=error_correction)
    for reset in random_resets(rng, length).values():
        r, m_last = delta_loop(**inputs, reset=reset, error_correction=error_correction)
        (got_r, got_last), gradients = run(
            double, jnp.asarray(reset), jnp.asarray(g), jnp.asarray(g_last)
        )
        assert relative_error(got_r, r) <= 1e-12
        assert relative_error(got_last, m_last) <= 1e-12
        for name, direction in directions.items():
            step = 1e-6
            losses = []
            for s in (step, -step):
                moved = inputs | {name: inputs[name] + s * direction}
                r, m = delta_loop(**moved, reset=reset, error_correction=error_correction)
                losses.append(np.sum(g * r) + np.sum(g_last * m))
            finite = (losses[0] - losses[1]) / (2 * step)
            got = np.sum(np.asarray(gradients[name]) * direction)
            assert abs(got - finite) <= 1e-6 * (1 + abs(finite)), name


@pytest.mark.parametrize(("length", "chunk", "error_correction"), CASES)
def test_chunks_match_steps(length, chunk, error_correction, rng):
    inputs = single(random_inputs(rng, length))
    g, g_last = (jnp.float32(x) for x in cotangents(rng, length))
    run = value_and_gradients(delta_scan, chunk=chunk, error_correction=error_correction)
    for name, reset in random_resets(rng, length).items():
        (r, m_last), gradients = in_double(inputs, reset, g, g_last, error_correction)
        (got_r, got_last), got = run(inputs, jnp.asarray(reset), g, g_last)
        assert relative_error(got_r, r) <= 1e-5, name
        assert relative_error(got_last, m_last) <= 1e-5, name
        assert_close(got, gradients, 1e-5)


@pytest.mark.parametrize("error_correction", [True, False])
def test_fast_forgetting(error_correction, rng):
    """With alpha = 1e-3 at every token: exp(G_i - G_j) above the diagonal would overflow."""
    length = 200
    inputs = single(random_inputs(rng, length))
    inputs["alpha"] = jnp.full_like(inputs["alpha"], 1e-3)
    g, g_last = (jnp.float32(x) for x in cotangents(rng, length))
    run = value_and_gradients(delta_scan, chunk=64, error_correction=error_correction)
    for reset in random_resets(rng, length).values():
        (r, m_last), gradients = in_double(inputs, reset, g, g_last, error_correction)
        (got_r, got_last), got = run(inputs, jnp.asarray(reset), g, g_last)
        assert relative_error(got_r, r) <= 1e-5
        assert relative_error(got_last, m_last) <= 1e-5
        # d alpha is the one gradient with all rounding of G = 64 log(1e-3), 440 * 2^-23, in it.
        assert relative_error(got.pop("alpha"), gradients.pop("alpha")) <= 1e-4
        assert_close(got, gradients, 1e-5)


def test_decay_at_a_reset_does_not_matter(rng):
    """A document's first token forgets everything whatever its alpha, to the last bit."""
    length = 63
    inputs = single(random_inputs(rng, length))
    reset = jnp.asarray(random_resets(rng, length)["random"])
    other = inputs | {"alpha": jnp.where(reset[..., None], 1e-20, inputs["alpha"])}
    g, g_last = (jnp.float32(x) for x in cotangents(rng, length))
    run = value_and_gradients(delta_scan, chunk=32, error_correction=True)
    expected, gradients = run(inputs, reset, g, g_last)
    got, other_gradients = run(other, reset, g, g_last)
    jax.tree.map(np.testing.assert_array_equal, (got, other_gradients), (expected, gradients))
    np.testing.assert_array_equal(gradients["alpha"][reset], 0)


@pytest.mark.parametrize("chunk", [1, 8, 16, 32, 64, 100])
def test_identical_keys(chunk, rng):
    """The worst case of the chunk's linear system: every key the same, nearly full writes."""
    length = 200
    inputs = single(random_inputs(rng, length))
    inputs["k"] = jnp.broadcast_to(inputs["k"][:, :1], inputs["k"].shape)
    inputs["alpha"] = jnp.full_like(inputs["alpha"], 0.999)
    inputs["beta"] = jnp.full_like(inputs["beta"], 0.95)
    g, g_last = (jnp.float32(x) for x in cotangents(rng, length))
    reset = np.zeros((BATCH, length), bool)
    (r, m_last), gradients = in_double(inputs, reset, g, g_last, True)
    run = value_and_gradients(delta_scan, chunk=chunk, error_correction=True)
    (got_r, got_last), got = run(inputs, jnp.asarray(reset), g, g_last)
    assert relative_error(got_r, r) <= 1e-5
    assert relative_error(got_last, m_last) <= 1e-5
    assert_close(got, gradients, 1e-5)


@pytest.mark.parametrize("function", [delta_steps, delta_scan])
def test_no_reset_and_no_m0_mean_zeros(function, rng):
    inputs = single(random_inputs(rng, 40))
    del inputs["m0"]
    r, m_last = jax.jit(lambda x: function(**x))(inputs)
    zeros = np.zeros((BATCH, HEADS, SLOTS, VALUES))
    exact = {name: np.float64(x) for name, x in inputs.items()}
    expected, last = delta_loop(**exact, m0=zeros, reset=np.zeros((BATCH, 40), bool))
    assert relative_error(r, expected) <= 1e-5
    assert relative_error(m_last, last) <= 1e-5


@pytest.mark.parametrize("error_correction", [True, False])
def test_bfloat16_inputs_accumulate_in_float32(error_correction, rng):
    """Decays and strengths stay float32, as in the model; queries, keys and values are narrow."""
    length = 200
    inputs = single(random_inputs(rng, length))
    low = inputs | {name: inputs[name].astype(jnp.bfloat16) for name in "qkv"}
    reset = random_resets(rng, length)["random"]
    g, g_last = cotangents(rng, length)
    g, g_last = jnp.asarray(g, jnp.bfloat16), jnp.float32(g_last)
    (r, m_last), gradients = in_double(low, reset, g, g_last, error_correction)
    run = value_and_gradients(delta_scan, error_correction=error_correction)
    (got_r, got_last), got = run(low, jnp.asarray(reset), g, g_last)
    assert got_r.dtype == jnp.bfloat16
    assert got_last.dtype == jnp.float32
    assert relative_error(got_r, r) <= 2e-2
    assert relative_error(got_last, m_last) <= 1e-5
    assert_close(got, gradients, 2e-2)


def test_one_slot_is_overwritten_without_smearing_the_others():
    """What the delta rule is for: writing a key twice at full strength keeps the last value."""
    key = jnp.eye(4)[None, jnp.array([0, 1, 0]), None]
    value = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])[None, :, None]
    ones = jnp.ones((1, 3, 1))
    write = jax.jit(delta_scan, static_argnames="error_correction")
    _, memory = write(key, key, value, ones, ones)
    np.testing.assert_allclose(memory[0, 0], [[5, 6], [3, 4], [0, 0], [0, 0]], atol=1e-6)
    _, smeared = write(key, key, value, ones, ones, error_correction=False)
    np.testing.assert_allclose(smeared[0, 0], [[6, 8], [3, 4], [0, 0], [0, 0]], atol=1e-6)


@pytest.mark.parametrize("alpha", [1e-3, 1 - 1e-6])
def test_32768_tokens(alpha, rng):
    """Finite values and gradients over the longest context, and the right ones at its end."""
    length, tail = 32768, 256
    keys = rng.normal(size=(2, 1, length, 1, 4))
    q, k = jnp.float32(keys / np.linalg.norm(keys, axis=-1, keepdims=True))
    v = jnp.float32(rng.normal(size=(1, length, 1, 2)))
    inputs = {
        "q": q,
        "k": k,
        "v": v,
        "alpha": jnp.full((1, length, 1), alpha, jnp.float32),
        "beta": jnp.float32(rng.uniform(0.1, 0.9, (1, length, 1))),
        "m0": jnp.ones((1, 1, 4, 2)),
    }

    @jax.jit
    def run(inputs):
        (r, m_last), pull = jax.vjp(lambda x: delta_scan(**x, chunk=64), inputs)
        return r, m_last, pull((jnp.ones_like(r), m_last))[0]

    r, m_last, gradients = run(inputs)
    for x in (r, m_last, *gradients.values()):
        assert bool(jnp.all(jnp.isfinite(x)))
    # Full-rank overwriting forgets the far past, so the last tokens alone give the same memory.
    end = {name: np.float64(x)[:, -tail:] for name, x in inputs.items() if name != "m0"}
    reset = np.zeros((1, tail), bool)
    _, expected = delta_loop(**end, m0=np.zeros((1, 1, 4, 2)), reset=reset)
    assert relative_error(m_last, expected) <= 1e-5


def test_wrong_shape_is_an_error():
    x, ones = jnp.ones((1, 2, 1, 3)), jnp.ones((1, 2, 1))
    with pytest.raises(jaxtyping.TypeCheckError):
        delta_scan(x, jnp.ones((1, 2, 1, 4)), x, ones, ones)


def test_hessian_vector_product(rng, x64):
    """Reverse over reverse through the chunks, against the same through the definition."""
    inputs = {name: jnp.asarray(x) for name, x in random_inputs(rng, 20).items()}
    direction = {name: jnp.asarray(rng.normal(size=x.shape)) for name, x in inputs.items()}
    reset = jnp.asarray(random_resets(rng, 20)["random"])

    def product(function, **options):
        def loss(x):
            r, m_last = function(**x, reset=reset, **options)
            return jnp.sum(jnp.sin(r)) + jnp.sum(jnp.cos(m_last))

        def along(x):
            gradients = jax.grad(loss)(x)
            return sum(jnp.vdot(gradients[name], direction[name]) for name in x)

        return jax.jit(jax.grad(along))(inputs)

    expected, got = product(delta_steps), product(delta_scan, chunk=8)
    for name in expected:
        assert relative_error(got[name], expected[name]) <= 1e-10, name
