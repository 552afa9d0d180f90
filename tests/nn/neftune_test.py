import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.nn.neftune import neftune

# Two documents in a row and padding; one that fills its row; nothing but padding.
_SEGMENTS = np.array([[1, 1, 1, 2, 2, 2, 2, 2, 2, 0], [7] * 10, [0] * 10], np.int32)
_SIZES = np.array([[3, 3, 3, 6, 6, 6, 6, 6, 6, 0], [10] * 10, [0] * 10])
_WIDTH, _ALPHA = 4096, 5.0
_call = jax.jit(neftune)


def _noise(alpha=_ALPHA, scale=None, key=0, dtype=jnp.float32):
    x = jnp.zeros((*_SEGMENTS.shape, _WIDTH), dtype)
    noisy = _call(jax.random.key(key), x, _SEGMENTS, alpha, scale)
    assert noisy.dtype == dtype
    return np.asarray(noisy, np.float64)


def test_bounds_and_variance_are_those_of_each_document():
    noise = _noise()
    for row, column in np.argwhere(_SIZES):
        bound = _ALPHA / np.sqrt(_SIZES[row, column] * _WIDTH)
        drawn = noise[row, column]
        assert 0.99 * bound < np.max(np.abs(drawn)) <= bound
        np.testing.assert_allclose(np.var(drawn), bound**2 / 3, rtol=0.1)
        assert abs(np.mean(drawn)) < 0.05 * bound
    assert len(np.unique(noise[_SIZES > 0])) > 0.99 * noise[_SIZES > 0].size / 1.1


def test_padding_is_untouched():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(*_SEGMENTS.shape, 8)), jnp.bfloat16)
    noisy = _call(jax.random.key(0), x, _SEGMENTS, 50.0)
    changed = np.any(np.asarray(noisy != x), axis=-1)
    np.testing.assert_array_equal(changed, _SIZES > 0)


def test_alpha_zero_leaves_every_bit():
    x = np.random.default_rng(0).normal(size=(*_SEGMENTS.shape, 8)).astype(np.float32)
    x[:, ::2, 0] = -0.0
    for alpha in (0.0, jnp.zeros(())):
        same = np.asarray(_call(jax.random.key(0), x, _SEGMENTS, alpha))
        np.testing.assert_array_equal(same.view(np.uint32), x.view(np.uint32))


def test_the_scale_is_a_factor_of_each_token():
    scale = np.random.default_rng(0).choice([0.0, 0.5, 2.0], _SEGMENTS.shape).astype(np.float32)
    np.testing.assert_allclose(_noise(scale=scale), _noise() * scale[..., None], rtol=1e-6)


def test_noise_is_that_of_its_key():
    np.testing.assert_array_equal(_noise(key=1), _noise(key=1))
    assert np.mean(_noise(key=1) == _noise(key=2)) < 0.6  # padding is the same


def test_without_segments_a_row_is_a_document():
    x = jnp.zeros((2, 10, 64))
    key = jax.random.key(0)
    whole = _call(key, x, None, _ALPHA)
    np.testing.assert_array_equal(whole, _call(key, x, np.ones((2, 10), np.int32), _ALPHA))


@pytest.mark.parametrize("segments", [np.ones((2, 9), np.int32), np.ones((2, 10), np.float32)])
def test_segments_of_another_shape_or_kind_are_refused(segments):
    with pytest.raises(Exception, match="segment_ids"):
        neftune(jax.random.key(0), jnp.zeros((2, 10, 4)), segments, 1.0)
