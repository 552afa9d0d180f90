import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax import dora
from mmrec_jax.errors import UserError
from tests.dora.small_trees import (
    KERNELS,
    ROWS,
    adapted_columns,
    adapters,
    base,
    columns,
    rules,
)
from tests.models.mmrec.small_model import named_leaves

_KINDS = ["dora", "lora"]
_ROWS = [1, 2, 8]
_merge, _unmerge, _apply = map(jax.jit, (dora.merge, dora.unmerge, dora.apply))


def _leaf(tree, name):
    for part in name.split("/"):
        tree = tree[part]
    return tree


@pytest.mark.parametrize("kind", _KINDS)
def test_weights_and_norms_are_those_of_loops_in_every_layout(kind):
    params = base()
    trained = adapters(params, kind)
    merged, norms = _merge(params, trained)
    found = dora.nodes(trained)
    for name, (shape, layout) in KERNELS.items():
        expected, lengths = adapted_columns(_leaf(params, name), found[name])
        actual = _leaf(merged, name)
        assert actual.shape == shape
        np.testing.assert_allclose(columns(actual, layout), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            np.ravel(_leaf(norms, name)), lengths.ravel(), rtol=1e-5, err_msg=name
        )
    embedding = np.asarray(params["embed"]["embedding"]).copy()
    embedding[_ROWS] = np.asarray(found["embed/embedding"].rows)
    np.testing.assert_array_equal(merged["embed"]["embedding"], embedding)
    scales = (tree["blocks"]["norm"]["scale"] for tree in (merged, params))
    np.testing.assert_array_equal(*scales)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_at_the_start_the_weights_are_the_base_exactly(dtype):
    params = base(dtype)
    empty = np.arange(5) != 2  # a feature without weights
    params["dense"]["kernel"] = params["dense"]["kernel"] * empty[None]
    start = jax.jit(lambda params: dora.init(jax.random.key(1), params, rules()))(params)
    for name, leaf in named_leaves(_apply(params, start)).items():
        np.testing.assert_array_equal(leaf, named_leaves(params)[name], err_msg=name)


@pytest.mark.parametrize(
    ("kind", "dtype", "tolerance"),
    [("dora", jnp.float32, 1e-5), ("dora", jnp.bfloat16, 1e-2), ("lora", jnp.float32, 1e-5)],
)
def test_merging_is_undone_by_unmerging(kind, dtype, tolerance):
    params = base(dtype)
    trained = adapters(params, kind)
    merged, norms = _merge(params, trained)
    assert {leaf.dtype for leaf in jax.tree.leaves(merged)} == {jnp.dtype(dtype)}
    assert {leaf.dtype for leaf in jax.tree.leaves(trained)} == {jnp.dtype(jnp.float32)}
    back = named_leaves(_unmerge(merged, trained, norms))
    for name, leaf in named_leaves(params).items():
        scale = np.max(np.abs(leaf.astype(np.float32)))
        np.testing.assert_allclose(
            back[name].astype(np.float32),
            leaf.astype(np.float32),
            rtol=0,
            atol=tolerance * scale,
            err_msg=name,
        )


def test_two_adapters_on_one_base_do_not_disturb_each_other():
    params = base()
    before = {name: leaf.copy() for name, leaf in named_leaves(params).items()}
    one, other = adapters(params, seed=1), adapters(params, "lora", seed=2)
    expected = named_leaves(_apply(params, one))
    merged, norms = _merge(params, other)
    again = named_leaves(_apply(_unmerge(merged, other, norms), one))
    for name, leaf in named_leaves(params).items():
        np.testing.assert_array_equal(leaf, before[name])
        np.testing.assert_allclose(again[name], expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("detach", [True, False])
def test_gradients_are_those_of_the_formula_by_finite_differences(x64, detach):
    """Detached, the norm stands still while the rest is moved."""
    params = base(jnp.float64)
    trained = adapters(params)
    rng = np.random.default_rng(4)
    weights = jax.tree.map(lambda x: rng.normal(size=x.shape), params)
    nodes = dora.nodes(trained)
    norms = {name: adapted_columns(_leaf(params, name), nodes[name])[1] for name in KERNELS}

    def loss(adapters):
        out = dora.apply(params, adapters, detach_norm=detach)
        pairs = zip(*map(jax.tree.leaves, (weights, out)), strict=True)
        return sum(jnp.sum(w * x) for w, x in pairs)

    def by_loops(adapters):
        total = 0.0
        for name, (_, layout) in KERNELS.items():
            w, now = adapted_columns(_leaf(params, name), dora.nodes(adapters)[name])
            if detach:
                w = w * (now / norms[name])[:, None]
            total += np.sum(w * columns(_leaf(weights, name), layout))
        return total

    gradients = jax.jit(jax.grad(loss))(trained)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), trained)
    direction["embed"] = jax.tree.map(np.zeros_like, direction["embed"])
    ends = [jax.tree.map(lambda x, d, s=s: x + s * d, trained, direction) for s in (1e-5, -1e-5)]
    expected = (by_loops(ends[0]) - by_loops(ends[1])) / 2e-5
    pairs = zip(*map(jax.tree.leaves, (gradients, direction)), strict=True)
    actual = sum(np.vdot(g, d) for g, d in pairs)
    np.testing.assert_allclose(actual, expected, rtol=1e-7)
    np.testing.assert_array_equal(
        gradients["embed"]["embedding"].rows, np.asarray(weights["embed"]["embedding"])[_ROWS]
    )


def test_a_magnitude_scales_its_own_feature_after_training():
    """The norm over the wrong axis is an identity at the start too."""
    rng = np.random.default_rng(0)
    params = {"dense": {"kernel": rng.normal(size=(6, 6)).astype(np.float32)}}
    rule = dora.AdapterRule("kernel", 2, 2.0)
    start = jax.jit(lambda params: dora.init(jax.random.key(0), params, [rule]))(params)
    node = start["dense"]["kernel"]
    assert node.m.shape == (1, 6)
    target = params["dense"]["kernel"] * np.linspace(0.5, 2, 6, dtype=np.float32)[None]

    @jax.jit
    def step(m):
        def loss(m):
            put_in = dora.apply(params, {"dense": {"kernel": node.replace(m=m)}})
            return jnp.sum(jnp.square(put_in["dense"]["kernel"] - target))

        return m - 0.4 * jax.grad(loss)(m)

    m = node.m
    for _ in range(60):
        m = step(m)
    trained = _apply(params, {"dense": {"kernel": node.replace(m=m)}})
    np.testing.assert_allclose(trained["dense"]["kernel"], target, atol=1e-5)


def test_frozen_weights_are_constants_and_adapters_are_not():
    params = base()

    def loss(params, adapters):
        frozen, trained = dora.partition(params, adapters)
        return sum(jnp.sum(x**2) for x in jax.tree.leaves(dora.apply(frozen, trained)))

    to_params, to_adapters = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, adapters(params))
    assert not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(to_params))
    assert all(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(to_adapters))


def test_adapters_of_another_base_are_refused_by_name():
    params = base()
    trained = adapters(params)
    wider = {**params, "dense": {"kernel": jnp.zeros((6, 8))}}
    with pytest.raises(UserError, match=r"another base: dense/kernel is \[6, 8\] here"):
        dora.apply(wider, trained)
    less = {name: value for name, value in params.items() if name != "join"}
    with pytest.raises(UserError, match="another base: it has no parameter join/kernel"):
        dora.merge(less, trained)
    fewer = {**params, "embed": {"embedding": jnp.zeros((ROWS[-1][0], 6))}}
    with pytest.raises(UserError, match="another base: embed/embedding"):
        dora.partition(fewer, trained)


def test_a_magnitude_of_zero_cannot_be_unmerged():
    params = base()
    trained = adapters(params)
    node = trained["dense"]["kernel"]
    trained["dense"]["kernel"] = node.replace(m=node.m * (np.arange(5) != 3)[None])
    merged, norms = _merge(params, trained)
    assert not np.any(np.asarray(merged["dense"]["kernel"])[:, 3])
    with pytest.raises(UserError, match=r"dense/kernel: 1 of 5 magnitudes are 0"):
        dora.unmerge(merged, trained, norms)
