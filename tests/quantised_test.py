"""Codes and scales beside a loop in NumPy, and what may be quantised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax import quantised
from mmrec_jax.errors import UserError
from mmrec_jax.quantised import _NF4, Quantised, dequantise, product, quantise, row_products
from mmrec_jax.tree import count, map_named, named_leaves, num_bytes


def _by_hand(x, kind, axis, block):
    """Values in float64 and scales, one block after the other."""
    values, scales = np.zeros(x.shape), {}
    runs = [(i, o) for i in range(0, x.shape[0], block) for o in range(x.shape[1])]
    if axis == -1:
        runs = [(i, slice(None)) for i in range(x.shape[0])]
    for i, o in runs:
        at = (slice(i, i + block), o) if axis == -2 else (i, o)
        bound = {"nf4": 1.0, "int8": 127.5}[kind]
        scale = float(jnp.bfloat16(np.float32(np.max(np.abs(x[at])) / bound))) or 1.0
        if kind == "nf4":
            nearest = np.argmin(np.abs(x[at][:, None] / scale - _NF4[None]), axis=1)
            values[at] = scale * np.float64(_NF4[nearest])
        else:
            values[at] = scale * np.clip(np.round(x[at] / scale), -128, 127)
        scales[i, o if axis == -2 else 0] = scale
    return values, scales


_dequantise = jax.jit(dequantise)


@pytest.mark.parametrize(
    ("kind", "axis", "inputs", "block"),
    [
        *(("nf4", -2, 128, 64), ("nf4", -2, 96, 48), ("nf4", -2, 22, 22), ("nf4", -2, 134, 2)),
        *(("int8", -2, 37, 37), ("int8", -1, 37, 37)),
    ],
)
def test_values_and_scales_are_those_of_a_loop(rng, kind, axis, inputs, block):
    """Of every layer alone; blocks of zeros too."""
    x = rng.normal(size=(2, inputs, 5)).astype(np.float32)
    x[1, :block, 3] = 0
    made = quantise(x, kind, axis)
    assert made.shape == x.shape
    assert made.codes.dtype == {"nf4": jnp.uint8, "int8": jnp.int8}[kind]
    found, layers = np.asarray(_dequantise(made)), zip(x, np.asarray(made.scales), strict=True)
    for layer, (original, own) in enumerate(layers):
        values, scales = _by_hand(original, kind, axis, block)
        np.testing.assert_allclose(found[layer], values, rtol=2e-7)
        own = np.float32(own)
        assert own.size == len(scales)
        assert all(own[i // block if axis == -2 else i, o] == s for (i, o), s in scales.items())
    np.testing.assert_array_equal(_dequantise(quantise(x[1], kind, axis)), found[1])


def test_the_error_of_gaussian_weights_is_that_of_the_paper(rng):
    x = rng.normal(size=(2048, 64)).astype(np.float32)
    errors = [
        np.linalg.norm(_dequantise(quantise(x, *how)) - x) / np.linalg.norm(x)
        for how in (("nf4",), ("int8",), ("int8", -1))
    ]
    assert abs(errors[0] - 0.092) < 1e-3
    assert max(errors[1:]) < 0.011


def test_each_platform_finds_the_same_numbers(rng):
    matrix = quantise(rng.normal(size=(64, 8)).astype(np.float32), "nf4")
    lowered = jax.jit(dequantise).trace(matrix).lower(lowering_platforms=("tpu",))
    assert "gather" not in lowered.as_text()

    codes = jnp.arange(16)
    np.testing.assert_array_equal(quantised._chosen(codes), _NF4)


def test_what_cannot_be_quantised_is_refused():
    with pytest.raises(UserError, match=r"\[3, 7, 4\] has 7"):
        quantise(jnp.ones((3, 7, 4)), "nf4")


def test_a_product_keeps_the_codes_alone_and_its_gradient_is_that_of_the_values(rng):
    matrix = quantise(rng.normal(size=(128, 6)).astype(np.float32), "nf4")
    x, g = (jnp.asarray(rng.normal(size=(3, n)), jnp.float32) for n in (128, 6))
    y, pull = jax.vjp(lambda x: product(x, matrix), x)
    expected, pull_expected = jax.vjp(lambda x: x @ dequantise(matrix), x)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    np.testing.assert_allclose(pull(g)[0], pull_expected(g)[0], rtol=1e-6)
    assert {leaf.dtype.itemsize for leaf in jax.tree.leaves(pull)} <= {1, 2}


def test_it_is_one_leaf_of_a_tree():
    tree = {"a": {"kernel": quantise(jnp.ones((2, 64, 6), jnp.bfloat16), "nf4")}, "b": jnp.ones(3)}
    assert list(named_leaves(tree)) == ["a/kernel", "b"]
    assert isinstance(map_named(lambda _, leaf: leaf, tree)["a"]["kernel"], Quantised)
    assert count(tree) == 2 * 64 * 6 + 3
    assert num_bytes(tree) == 2 * 32 * 6 + 2 * 2 * 6 + 4 * 3
    leaf = tree["a"]["kernel"]
    assert (leaf.shape, leaf.ndim, leaf.dtype) == ((2, 64, 6), 3, jnp.bfloat16)
    assert dequantise(leaf).dtype == jnp.bfloat16


def test_the_gradient_through_a_table():
    table, x, g = (
        jnp.asarray(np.random.default_rng(i).normal(size=shape), jnp.float32)
        for i, shape in enumerate([(13, 8), (2, 3, 8), (2, 3, 13)])
    )
    matrix = quantise(table, "int8", axis=-1)
    expected = jnp.einsum("btd,vd->btv", x, dequantise(matrix))
    products, pullback = jax.vjp(lambda x: row_products(x, matrix), x)
    np.testing.assert_allclose(products, expected, rtol=1e-5, atol=1e-5)
    (gradient,) = pullback(g)
    expected = jnp.einsum("btv,vd->btd", g, dequantise(matrix))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)
