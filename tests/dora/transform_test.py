import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax import dora
from mmrec_jax.errors import UserError
from mmrec_jax.tree import named_leaves
from tests.dora.small_trees import ROWS, adapted_columns, adapters, base, rules

_KERNELS = ("dense/kernel", "blocks/out/kernel")
_ROWS = [1, 2, 8]
_merge, _apply = map(jax.jit, (dora.merge, dora.apply))


@pytest.mark.parametrize("kind", ["dora", "lora"])
def test_weights_and_norms_are_those_of_the_formula(kind):
    params = base()
    trained = adapters(params, kind)
    merged, norms = _merge(params, trained)
    found = dora.nodes(trained)
    for name in _KERNELS:
        expected = adapted_columns(named_leaves(params)[name], found[name])
        actual = [named_leaves(tree)[name] for tree in (merged, norms)]
        chex.assert_trees_all_close(actual, list(expected), rtol=1e-5, atol=1e-6)
    embedding = np.asarray(params["embed"]["embedding"]).copy()
    embedding[_ROWS] = np.asarray(found["embed/embedding"].rows)
    np.testing.assert_array_equal(merged["embed"]["embedding"], embedding)
    whole = found["blocks/norm/scale"].value
    assert np.any(whole != params["blocks"]["norm"]["scale"])
    np.testing.assert_array_equal(merged["blocks"]["norm"]["scale"], whole)
    del params["blocks"]["norm"]  # which it does not need
    without = _apply(params, trained)["blocks"]["norm"]["scale"]
    np.testing.assert_array_equal(without, whole)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_at_the_start_the_weights_are_the_base_exactly(dtype):
    params = base(dtype)
    empty = np.arange(5) != 2  # a feature without weights
    params["dense"]["kernel"] = params["dense"]["kernel"] * empty[None]
    start = jax.jit(lambda params: dora.init(jax.random.key(1), params, rules()))(params)
    chex.assert_trees_all_equal(_apply(params, start), params)


@pytest.mark.parametrize(
    ("kind", "dtype", "tolerance"),
    [("dora", "float32", 1e-5), ("dora", "float64", 1e-13), ("lora", "float32", 1e-5)],
)
def test_merging_is_undone_by_unmerging(kind, dtype, tolerance):
    """Also of magnitudes that training has made negative."""
    with jax.enable_x64(dtype == "float64"):
        params = base(dtype)
        trained = adapters(params, kind)
        node = trained["dense"]["kernel"]
        if kind == "dora":
            trained["dense"]["kernel"] = node.replace(m=node.m * np.float32([[1, -1, 1, -1, 1]]))
        merged, norms = _merge(params, trained)
        assert {leaf.dtype for leaf in jax.tree.leaves(merged)} == {jnp.dtype(dtype)}
        unmerge = dora.unmerge if kind == "dora" else jax.jit(dora.unmerge)
        back = named_leaves(unmerge(merged, trained, norms))
    for name, leaf in named_leaves(params).items():
        leaf, found = leaf.astype(np.float64), back[name].astype(np.float64)
        atol = tolerance * np.max(np.abs(leaf))
        np.testing.assert_allclose(found, leaf, rtol=0, atol=atol, err_msg=name)


@pytest.mark.parametrize("detach", [True, False])
def test_gradients_are_those_of_the_formula_by_finite_differences(x64, detach):
    """Detached, the norm stands still while the rest is moved."""
    params = base(jnp.float64)
    trained = adapters(params)
    rng = np.random.default_rng(4)
    weights = jax.tree.map(lambda x: rng.normal(size=x.shape), params)
    nodes = dora.nodes(trained)
    norms = {n: adapted_columns(named_leaves(params)[n], nodes[n])[1] for n in _KERNELS}

    def loss(adapters):
        out = dora.apply(params, adapters, detach_norm=detach)
        pairs = zip(*map(jax.tree.leaves, (weights, out)), strict=True)
        return sum(jnp.sum(w * x) for w, x in pairs)

    def by_hand(adapters):
        total = 0.0
        for name in _KERNELS:
            w, now = adapted_columns(named_leaves(params)[name], dora.nodes(adapters)[name])
            if detach:
                w = w * now / norms[name]
            total += np.sum(w * named_leaves(weights)[name])
        return total

    gradients = jax.jit(jax.grad(loss))(trained)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), trained)
    direction["embed"] = jax.tree.map(np.zeros_like, direction["embed"])
    direction["blocks"]["norm"] = jax.tree.map(np.zeros_like, direction["blocks"]["norm"])
    ends = [jax.tree.map(lambda x, d, s=s: x + s * d, trained, direction) for s in (1e-5, -1e-5)]
    expected = (by_hand(ends[0]) - by_hand(ends[1])) / 2e-5
    pairs = zip(*map(jax.tree.leaves, (gradients, direction)), strict=True)
    actual = sum(np.vdot(g, d) for g, d in pairs)
    np.testing.assert_allclose(actual, expected, rtol=1e-7)
    np.testing.assert_array_equal(
        gradients["embed"]["embedding"].rows, np.asarray(weights["embed"]["embedding"])[_ROWS]
    )
    scales = (tree["blocks"]["norm"]["scale"] for tree in (gradients, weights))
    np.testing.assert_array_equal(next(scales).value, next(scales))


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"dense": {"kernel": jnp.zeros((6, 8))}}, "dense/kernel"),
        ({"dense": {}}, "dense/kernel"),
        ({"embed": {"embedding": jnp.zeros((ROWS[-1][0], 6))}}, "embed/embedding"),
        ({"blocks": {**base()["blocks"], "norm": {"scale": jnp.zeros((3, 7))}}}, "norm/scale"),
    ],
)
def test_adapters_of_another_base_are_refused_by_name(changed, name):
    with pytest.raises(UserError, match=name):
        dora.apply({**base(), **changed}, adapters(base()))


def test_what_cannot_be_unmerged_is_refused():
    """A column that a magnitude of 0 has taken away, and magnitudes that cannot be looked at."""
    params = base()
    kernel = params["dense"]["kernel"] = params["dense"]["kernel"] * (np.arange(5) != 2)[None]
    trained = adapters(params)
    node = trained["dense"]["kernel"]
    # A column of zeros has no direction, so that its magnitude scales nothing.
    node = node.replace(b=node.b * (np.arange(5) != 2)[None], m=node.m * (np.arange(5) != 2)[None])
    trained["dense"]["kernel"] = node
    merged, norms = _merge(params, trained)
    back = dora.unmerge(merged, trained, norms)
    np.testing.assert_allclose(back["dense"]["kernel"], kernel, rtol=0, atol=1e-5)
    with pytest.raises(TypeError, match="dense/kernel"):
        jax.jit(dora.unmerge)(merged, {"dense": trained["dense"]}, norms)
    trained["dense"]["kernel"] = node.replace(m=node.m * (np.arange(5) != 3)[None])
    merged, norms = _merge(params, trained)
    assert not np.any(np.asarray(merged["dense"]["kernel"])[:, 3])
    with pytest.raises(UserError, match=r"dense/kernel: 1 of 5"):
        dora.unmerge(merged, trained, norms)
