"""NF4 and int8 beside those of `qwix`, whose scales have the dtype of the matrix."""

import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.quantised import dequantise, quantise

qarray = pytest.importorskip("qwix._src.core.qarray", reason="qwix is not installed")


def _both(x, kind):
    tiled = {} if kind == "int8" else {0: 64}
    how = qarray.HowToQuantize(qtype=kind, channelwise_axes=(1,), tiled_axes=tiled)
    return quantise(x, kind), qarray.quantize(x, how)


def _codes(matrix):
    if matrix.kind == "int8":
        return np.asarray(matrix.codes)
    halves = jnp.stack([matrix.codes & 15, matrix.codes >> 4], axis=-2)
    return np.asarray(halves.reshape(matrix.shape))


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_codes_and_scales_are_the_same_bits_where_scales_are_bfloat16(rng, kind):
    """The largest number of each block is made one whose scale bfloat16 holds.

    XLA divides by 127.5 with its reciprocal, which may be one unit in the last place off.
    """
    blocks = rng.normal(size=(4, 64, 48)).astype(np.float32).clip(-3, 3)
    bound = {"nf4": 1.0, "int8": 127.5}[kind]
    blocks[:, 7] = bound * np.float32(jnp.asarray(3.2 + rng.random((4, 48)), jnp.bfloat16))
    blocks[2, :, 5] = 0
    x = jnp.asarray(blocks.reshape(256, 48) if kind == "nf4" else bound * blocks[0] / 3)
    if kind == "int8":
        x = x.at[7].set(blocks[0, 7])
    ours, theirs = _both(x, kind)
    unit = 0.0 if kind == "nf4" else 2.0**-23
    np.testing.assert_allclose(np.float32(ours.scales), theirs.scale, rtol=unit)
    np.testing.assert_array_equal(_codes(ours), np.asarray(theirs.qvalue, np.int32))
    np.testing.assert_allclose(dequantise(ours), qarray.dequantize(theirs), rtol=2 * unit)


def test_elsewhere_the_scale_is_rounded_and_few_codes_are_the_next_ones(rng):
    """Rounding moves a scale by 2^-9 of it at most: 1 code in 100 and a hundredth of the error."""
    x = jnp.asarray(rng.normal(size=(1024, 256)), jnp.float32)
    ours, theirs = _both(x, "nf4")
    np.testing.assert_array_equal(ours.scales, theirs.scale.astype(jnp.bfloat16))
    apart = np.abs(_codes(ours) - np.asarray(theirs.qvalue, np.int32))
    assert apart.max() == 1
    assert np.mean(apart) < 0.01
    error, their_error = (
        float(jnp.linalg.norm(values - x) / jnp.linalg.norm(x))
        for values in (dequantise(ours), qarray.dequantize(theirs))
    )
    assert abs(error - their_error) < 0.01 * their_error
    assert abs(error - 0.092) < 5e-4
