import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.dora.kernel import column_norm, column_squares, factored_norm


def _random(rng, columns=7):
    shapes = ((2, 9, columns), (2, 9, 3), (2, 3, columns))
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def test_the_factored_norm_is_that_of_the_sum_and_so_is_its_gradient(rng):
    w, a, b = _random(rng)
    g = jnp.asarray(rng.normal(size=(2, 1, 7)), jnp.float32)

    def factored(a, b):
        norm = factored_norm(w, a, b, 0.7, column_squares(w))
        return jnp.sum(g * norm), norm

    def formed(a, b):
        norm = column_norm(w + 0.7 * (a @ b))
        return jnp.sum(g * norm), norm

    both = jax.jit(
        lambda a, b: [jax.grad(f, (0, 1), has_aux=True)(a, b) for f in (factored, formed)]
    )(a, b)
    v = np.asarray(w, np.float64) + 0.7 * np.asarray(a, np.float64) @ np.asarray(b, np.float64)
    for _, norm in both:
        expected = np.sqrt(np.sum(v * v, axis=1, keepdims=True))
        np.testing.assert_allclose(norm, expected, rtol=1e-6)
    for actual, expected in zip(both[0][0], both[1][0], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_terms_that_cancel_do_not_make_it_nan(rng):
    """The adapter takes the weight away: what is left of the square is rounding."""
    _, a, b = _random(rng, columns=400)
    w = -(a @ b)

    @jax.jit
    def run(b):
        def total(b):
            norm = factored_norm(w, a, b, 1.0, column_squares(w))
            return jnp.sum(norm), norm

        return (
            *jax.grad(total, has_aux=True)(b),
            jax.grad(lambda w: jnp.sum(column_norm(w)))(0 * b),
        )

    gradient, norm, at_zero = map(np.asarray, run(b))
    assert np.all(np.isfinite(norm))
    assert np.any(norm == 0)
    assert np.all(np.isfinite(gradient))
    assert not np.any(at_zero)
