import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmrec_jax.optim.rounding import apply_updates


def _draws(x, count):
    """Roundings of float32 numbers, one for each of some keys."""
    params = {"a": jnp.zeros(x.shape, jnp.bfloat16)}
    keys = jax.random.split(jax.random.key(3), count)
    found = jax.vmap(lambda key: apply_updates(params, {"a": x}, key)["a"])(keys)
    assert found.dtype == jnp.bfloat16
    return np.asarray(found, np.float64)


def test_the_mean_is_the_number_and_each_is_one_of_its_neighbours(rng):
    x = jnp.asarray(rng.normal(size=(7, 5)) * 10.0 ** rng.integers(-6, 7, (7, 5)), jnp.float32)
    found, exact = _draws(x, 4000), np.asarray(x, np.float64)
    unit = np.maximum(2.0 ** (np.floor(np.log2(np.abs(exact))) - 7), 1e-38)
    assert np.all(np.abs(found - exact) < unit)
    assert np.max(np.abs(np.mean(found, axis=0) - exact) / unit) < 5 * 0.5 / 4000**0.5
    draws = (found > exact).reshape(4000, -1).astype(float)  # none knows of another
    apart = np.corrcoef(draws.T) - np.eye(draws.shape[1])
    assert np.nanmax(np.abs(apart)) < 6 / 4000**0.5


def test_what_bfloat16_holds_stays_and_so_does_what_is_no_number():
    exact = jnp.asarray([1.5, -0.0078125, 0.0, 3e38, jnp.inf, -jnp.inf, jnp.nan])
    exact = exact.astype(jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_array_equal(_draws(exact, 20), np.tile(np.float64(exact), (20, 1)))


def test_float32_is_updated_as_before(rng):
    params, updates = ({"a": jnp.asarray(rng.normal(size=9), jnp.float32)} for _ in range(2))
    found = apply_updates(params, updates, jax.random.key(0))
    np.testing.assert_array_equal(found["a"], optax.apply_updates(params, updates)["a"])
