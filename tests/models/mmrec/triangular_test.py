"""The inverse of I + A against float64, on the correlated keys a language model really has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models.mmrec.memory import inverse_unit_lower
from tests.models.mmrec.loops import relative_error

SIZES = [1, 2, 3, 7, 8, 9, 16, 17, 32, 33, 64, 65]


def writes(rng: np.random.Generator, size: int, cosine: float, beta: float = 0.95) -> np.ndarray:
    """`A = beta_i (k_i . k_j)` below the diagonal, [2, size, size]: keys of a mean cosine."""
    common = rng.normal(size=(2, 1, 64))
    own = rng.normal(size=(2, size, 64))
    keys = np.sqrt(cosine) * common / np.linalg.norm(common, axis=-1, keepdims=True)
    keys = keys + np.sqrt(1 - cosine) * own / np.linalg.norm(own, axis=-1, keepdims=True)
    keys /= np.linalg.norm(keys, axis=-1, keepdims=True)
    return np.float32(beta * np.tril(keys @ keys.swapaxes(-1, -2), -1))


def inverse(a: np.ndarray) -> np.ndarray:
    return np.linalg.inv(np.eye(a.shape[-1]) + np.float64(a))


@jax.jit
def value_and_gradient(a, g):
    value, pull = jax.vjp(inverse_unit_lower, a)
    return value, pull(g)[0]


@pytest.mark.parametrize("size", SIZES)
def test_matches_float64_inverse(size, rng):
    for cosine in (0.0, 0.24, 0.5, 0.7, 1.0):
        a = writes(rng, size, cosine)
        g = np.float32(rng.normal(size=a.shape))
        expected = inverse(a)
        transposed = expected.swapaxes(-1, -2)
        gradient = -np.tril(transposed @ np.float64(g) @ transposed, -1)
        value, got = value_and_gradient(jnp.asarray(a), jnp.asarray(g))
        assert relative_error(value, expected) <= 3e-6, cosine
        assert relative_error(got, gradient) <= 3e-6, cosine
        np.testing.assert_array_equal(np.triu(value, 1), 0)
        np.testing.assert_array_equal(np.diagonal(value, axis1=-2, axis2=-1), 1)


@pytest.mark.parametrize("size", [5, 33])
def test_gradient_matches_finite_differences(size, rng, x64):
    """The formula of the gradient, checked without formula: only values are compared."""
    a = jnp.asarray(np.float64(writes(rng, size, 0.5)))
    g = jnp.asarray(rng.normal(size=a.shape))
    direction = jnp.asarray(np.tril(rng.normal(size=a.shape), -1))
    _, gradient = value_and_gradient(a, g)
    step = 1e-6
    plus, minus = (inverse(np.asarray(a + s * direction)) for s in (step, -step))
    finite = np.sum(np.asarray(g) * (plus - minus)) / (2 * step)
    assert relative_error(jnp.vdot(gradient, direction), finite) <= 1e-7


def test_hessian_vector_product(rng, x64):
    a = jnp.asarray(np.float64(writes(rng, 17, 0.5)))
    direction = jnp.asarray(np.tril(rng.normal(size=a.shape), -1))
    gradient = jax.jit(jax.grad(lambda a: jnp.sum(jnp.sin(inverse_unit_lower(a)))))
    product = jax.jit(jax.grad(lambda a: jnp.vdot(gradient(a), direction)))(a)
    step = 1e-6
    finite = (gradient(a + step * direction) - gradient(a - step * direction)) / (2 * step)
    assert relative_error(product, finite) <= 1e-7


def test_plain_product_form_fails_on_the_same_input(rng):
    """Why the inverse is built by halves: `(I - A)(I + A^2)(I + A^4)...` cancels in float32."""
    a = writes(rng, 64, 0.5)
    identity = np.eye(64, dtype=np.float32)
    product, power = identity - a, a
    for _ in range(5):
        power = power @ power
        product = product @ (identity + power)
    expected = inverse(a)
    assert product.dtype == np.float32
    assert relative_error(product, expected) > 10
    assert relative_error(jax.jit(inverse_unit_lower)(jnp.asarray(a)), expected) <= 3e-6
