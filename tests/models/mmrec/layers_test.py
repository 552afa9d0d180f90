import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models.mmrec.layers import Dropout


def drop(x, rate, seed=0):
    return Dropout(rate, deterministic=False).apply({}, x, rngs={"dropout": jax.random.key(seed)})


@pytest.mark.parametrize(("rate", "width"), [(0.1, 400), (0.5, 401), (1 / 3, 7)])
def test_dropout_zeroes_the_asked_share_and_keeps_the_mean(rate, width):
    """A share of 280,000 draws: within five standard errors of the rate, and none partly."""
    x = jnp.full((2, 140_000 // width, width), 3.0)
    dropped = np.asarray(drop(x, rate))
    kept = dropped != 0
    error = np.sqrt(rate * (1 - rate) / x.size)
    assert abs(kept.mean() - (1 - rate)) < 5 * error
    np.testing.assert_allclose(dropped[kept], 3 / (1 - rate), rtol=1e-4)
    # Both halves of a random word are used, and neighbours are independent of each other.
    for column in (0, 1):
        assert abs(kept[..., column::2].mean() - (1 - rate)) < 8 * error
    together = (~kept[..., :-1] & ~kept[..., 1:]).mean()
    assert abs(together - rate**2) < 8 * error


def test_dropout_is_drawn_from_its_key_and_cuts_gradients_where_it_cuts_values():
    x = jnp.ones((4, 33))
    np.testing.assert_array_equal(drop(x, 0.4), drop(x, 0.4))
    assert np.any(drop(x, 0.4) != drop(x, 0.4, seed=1))
    np.testing.assert_array_equal(jax.grad(lambda x: jnp.sum(drop(x, 0.4)))(x), drop(x, 0.4))


def test_dropout_is_the_identity_when_deterministic_or_off():
    x = jnp.ones((4, 33))
    assert Dropout(0.4, deterministic=True).apply({}, x) is x
    assert Dropout(0.0, deterministic=False).apply({}, x) is x
