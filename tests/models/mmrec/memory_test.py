"""delta_steps and delta_scan against a float64 loop of the definition and its gradients."""

import functools

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from mmrec_jax.models.mmrec.delta_chunk import inverse_unit_lower
from mmrec_jax.models.mmrec.memory import delta_scan, delta_steps
from tests.models.mmrec.derivatives import assert_second_order
from tests.models.mmrec.loops import assert_close, delta_loop, delta_loop_gradient, relative_error

BATCH, HEADS, SLOTS, VALUES = 2, 2, 5, 3


def random_inputs(rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """Correlated unit keys, and tokens that (as padding) neither write nor forget."""

    def unit(x):
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    shape = (BATCH, length, HEADS)
    shared = 0.5 * unit(rng.normal(size=(BATCH, 1, HEADS, SLOTS)))
    padding = rng.random(shape[:2]) < 0.1
    alpha = 1 - rng.uniform(0, 0.2, shape) ** 2
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
    return {
        "none": np.zeros((BATCH, length), bool),
        "first": np.broadcast_to(np.arange(length) == 0, (BATCH, length)),
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
    shapes = (BATCH, length, HEADS, VALUES), (BATCH, HEADS, SLOTS, VALUES)
    return [rng.normal(size=shape) for shape in shapes]


def single(tree):
    return {name: jnp.float32(x) for name, x in tree.items()}


_RESETS = ("none", "first", "random", "borders")


def assert_chunks_match_loop(inputs, rng, chunk, correct, tolerances=(1e-5,) * 3, resets=_RESETS):
    """The scan in float32 is the loop in float64 on the same numbers, with all gradients.

    `tolerances` are of the reads, the gradients, and the gradient of alpha.
    """
    length = inputs["q"].shape[1]
    g, g_last = cotangents(rng, length)
    g, g_last = jnp.asarray(g, inputs["v"].dtype), jnp.float32(g_last)
    run = value_and_gradients(delta_scan, chunk=chunk, error_correction=correct)
    exact, *weights = jax.tree.map(np.float64, (inputs, g, g_last))
    every = random_resets(rng, length)
    for reset in (every[name] for name in resets):
        r, last = delta_loop(**exact, reset=reset, error_correction=correct)
        gradients = delta_loop_gradient(exact, reset, *weights, error_correction=correct)
        (got_r, got_last), got = run(inputs, reset, g, g_last)
        assert (got_r.dtype, got_last.dtype) == (inputs["v"].dtype, jnp.float32)
        assert relative_error(got_r, r) <= tolerances[0]
        assert relative_error(got_last, last) <= 1e-5
        assert relative_error(got.pop("alpha"), gradients.pop("alpha")) <= tolerances[2]
        assert_close(got, gradients, tolerances[1])


@pytest.mark.parametrize("error_correction", [True, False])
def test_steps_match_float64_loop(error_correction, rng, x64):
    inputs, (g, g_last) = random_inputs(rng, 40), cotangents(rng, 40)
    run = value_and_gradients(delta_steps, error_correction=error_correction)
    for reset in random_resets(rng, 40).values():
        definition = functools.partial(delta_loop, reset=reset, error_correction=error_correction)
        r, m_last = definition(**inputs)
        outputs, gradients = run(jax.tree.map(jnp.asarray, inputs), jnp.asarray(reset), g, g_last)
        assert relative_error(outputs[0], r) <= 1e-12
        assert relative_error(outputs[1], m_last) <= 1e-12
        for name, x in inputs.items():
            direction = rng.normal(size=x.shape)
            losses = []
            for step in (1e-6, -1e-6):
                r, m = definition(**inputs | {name: x + step * direction})
                losses.append(np.sum(g * r) + np.sum(g_last * m))
            finite = (losses[0] - losses[1]) / 2e-6
            got = np.sum(np.asarray(gradients[name]) * direction)
            assert abs(got - finite) <= 1e-6 * (1 + abs(finite)), name


# Chunk sizes over a long sequence; lengths at, under and over chunk borders.
@pytest.mark.parametrize(
    ("length", "chunk", "error_correction"),
    [
        *[
            (length, chunk, True)
            for length, chunk in ((200, 32), (20, 1), (64, 64), (3, 2), (1, 8))
        ],
        (70, 16, False),
    ],
)
def test_chunks_match_float64_loop(length, chunk, error_correction, rng):
    inputs = single(random_inputs(rng, length))
    assert_chunks_match_loop(inputs, rng, chunk, error_correction)


@pytest.mark.parametrize("error_correction", [True, False])
def test_fast_forgetting(error_correction, rng):
    """With alpha = 1e-3 at every token: exp(G_i - G_j) above the diagonal would overflow.

    d alpha is the one gradient with all rounding of G = 64 log(1e-3), 440 * 2^-23, in it.
    """
    inputs = single(random_inputs(rng, 200))
    inputs["alpha"] = jnp.full_like(inputs["alpha"], 1e-3)
    assert_chunks_match_loop(inputs, rng, 64, error_correction, (1e-5, 1e-5, 1e-4))


@pytest.mark.parametrize("chunk", [16, 100])
def test_identical_keys(chunk, rng):
    """The worst case of the chunk's linear system: every key the same, nearly full writes."""
    inputs = single(random_inputs(rng, 200))
    inputs["k"] = jnp.broadcast_to(inputs["k"][:, :1], inputs["k"].shape)
    inputs["alpha"] = jnp.full_like(inputs["alpha"], 0.999)
    inputs["beta"] = jnp.full_like(inputs["beta"], 0.95)
    assert_chunks_match_loop(inputs, rng, chunk, True, resets=("none",))


def test_bfloat16_inputs_accumulate_in_float32(rng):
    """Decays and strengths stay float32, as in the model; queries, keys and values are narrow."""
    inputs = single(random_inputs(rng, 200))
    low = inputs | {name: inputs[name].astype(jnp.bfloat16) for name in "qkv"}
    assert_chunks_match_loop(low, rng, 32, True, (2e-2, 2e-2, 2e-2), resets=("random",))


def test_decay_at_a_reset_does_not_matter(rng):
    """A document's first token forgets everything whatever its alpha, to the last bit."""
    inputs, reset = single(random_inputs(rng, 200)), random_resets(rng, 200)["random"]
    other = inputs | {"alpha": jnp.where(reset[..., None], 1e-20, inputs["alpha"])}
    g, g_last = (jnp.float32(x) for x in cotangents(rng, 200))
    run = value_and_gradients(delta_scan, chunk=32, error_correction=True)
    both = [run(x, jnp.asarray(reset), g, g_last) for x in (inputs, other)]
    jax.tree.map(np.testing.assert_array_equal, *both)
    np.testing.assert_array_equal(both[0][1]["alpha"][reset], 0)


@pytest.mark.parametrize("function", [delta_steps, delta_scan])
def test_no_reset_and_no_m0_mean_zeros(function, rng):
    inputs = single(random_inputs(rng, 40))
    m0 = 0 * np.float64(inputs.pop("m0"))
    exact = {name: np.float64(x) for name, x in inputs.items()}
    expected = delta_loop(**exact, m0=m0, reset=np.zeros((BATCH, 40), bool))
    for got, value in zip(jax.jit(lambda x: function(**x))(inputs), expected, strict=True):
        assert relative_error(got, value) <= 1e-5


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


def test_wrong_shape_is_an_error():
    x, ones = jnp.ones((1, 2, 1, 3)), jnp.ones((1, 2, 1))
    with pytest.raises(jaxtyping.TypeCheckError):
        delta_scan(x, jnp.ones((1, 2, 1, 4)), x, ones, ones)


def test_the_gradient_is_differentiable(rng, x64):
    inputs = {name: jnp.asarray(x) for name, x in random_inputs(rng, 20).items()}
    reset = jnp.asarray(random_resets(rng, 20)["random"])

    def loss(x):
        r, m_last = delta_scan(**x, reset=reset, chunk=10)
        return jnp.sum(jnp.sin(r)) + jnp.sum(jnp.cos(m_last))

    assert_second_order(loss, inputs, rng, step=1e-6, tolerance=1e-6)


# The inverse of I + A, on the correlated keys that a language model really has.


@pytest.mark.parametrize("size", [1, 7, 9, 33, 64])
def test_the_inverse_matches_float64(size, rng):
    """`A = beta_i (k_i . k_j)` below the diagonal, of keys with a mean cosine."""
    run = jax.jit(lambda a, g: (lambda y, pull: (y, pull(g)[0]))(*jax.vjp(inverse_unit_lower, a)))
    for cosine in (0.0, 0.24, 0.5, 1.0):
        common, own = rng.normal(size=(2, 1, 64)), rng.normal(size=(2, size, 64))
        keys = np.sqrt(cosine) * common / np.linalg.norm(common, axis=-1, keepdims=True)
        keys = keys + np.sqrt(1 - cosine) * own / np.linalg.norm(own, axis=-1, keepdims=True)
        keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
        a = np.float32(0.95 * np.tril(keys @ keys.swapaxes(-1, -2), -1))
        g = np.float32(rng.normal(size=a.shape))
        expected = np.linalg.inv(np.eye(size) + np.float64(a))
        transposed = expected.swapaxes(-1, -2)
        value, got = run(a, g)
        assert relative_error(value, expected) <= 3e-6, cosine
        gradient = -np.tril(transposed @ np.float64(g) @ transposed, -1)
        assert relative_error(got, gradient) <= 3e-6, cosine
        np.testing.assert_array_equal(np.triu(value, 1), 0)
