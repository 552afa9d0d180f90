import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.dora.kernel import column_norm, column_squares, factored_norm
from tests.small_step import assert_close


def _random(rng, columns=7):
    shapes = ((2, 9, columns), (2, 9, 3), (2, 3, columns))
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def test_the_factored_norm_is_that_of_the_sum_and_so_is_its_gradient(rng):
    w, a, b = _random(rng)
    g = rng.normal(size=(2, 1, 7))

    @jax.jit
    def factored(a, b):
        def total(a, b):
            norm = factored_norm(w, a, b, 0.7, column_squares(w))
            return jnp.sum(jnp.asarray(g, jnp.float32) * norm), norm

        return jax.grad(total, (0, 1), has_aux=True)(a, b)

    (to_a, to_b), norm = factored(a, b)
    w, a, b = (np.float64(x) for x in (w, a, b))
    v = w + 0.7 * a @ b
    expected = np.sqrt(np.sum(v * v, axis=1, keepdims=True))
    to_v = 0.7 * g * v / expected
    assert_close([norm], [expected], 1e-6)
    assert_close([to_a, to_b], [to_v @ b.swapaxes(1, 2), a.swapaxes(1, 2) @ to_v], 1e-5)


def test_terms_that_cancel_do_not_make_it_nan(rng):
    """The adapter takes the weight away: what is left of the square is rounding."""
    _, a, b = _random(rng, columns=400)
    w = -(a @ b)

    @jax.jit
    def run(b):
        def total(b):
            norm = factored_norm(w, a, b, 1.0, column_squares(w))
            return jnp.sum(norm), norm

        at_zero = jax.grad(lambda w: jnp.sum(column_norm(w)))(0 * b)
        return (*jax.grad(total, has_aux=True)(b), at_zero)

    gradient, norm, at_zero = map(np.asarray, run(b))
    assert np.all(np.isfinite(norm))
    assert np.any(norm == 0)
    assert np.all(np.isfinite(gradient))
    assert not np.any(at_zero)
