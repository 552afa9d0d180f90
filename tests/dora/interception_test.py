import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax import dora
from mmrec_jax.nn.model import MMRecLM
from tests.nn import small_model


class _Layers(nn.Module):
    """Dense and DenseGeneral modules with biases, in a row: [*, 6] to [*, 5]."""

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="dense")(x)
        x = nn.DenseGeneral((2, 3), name="heads")(jnp.sin(x))
        x = nn.DenseGeneral(7, axis=(-2, -1), use_bias=False, name="join")(jnp.sin(x))
        return nn.DenseGeneral(5, axis=1, name="turned")(x)  # of an axis that is not the last


_RULES = (
    dora.AdapterRule("dense|turned", 2, 3.0),
    dora.AdapterRule("heads", 3, 3.0, axes="ioo"),
    dora.AdapterRule("join", 2, 3.0, "rslora", axes="iio"),
)


def _moved(tree, seed):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + jnp.asarray(0.3 * rng.normal(size=x.shape), x.dtype), tree)


@pytest.mark.parametrize("detach", [True, False])
def test_values_and_gradients_are_those_of_the_applied_weights(detach):
    model, x = _Layers(), jnp.asarray(np.random.default_rng(0).normal(size=(4, 3, 6)), jnp.float32)
    params = _moved(model.init(jax.random.key(0), x)["params"], 1)
    trained = _moved(dora.init(jax.random.key(1), params, _RULES), 2)

    def applied(trained, x):
        params_ = dora.apply(params, trained, detach_norm=detach)
        return jnp.sum(jnp.cos(model.apply({"params": params_}, x)))

    def intercepted(trained, x):
        with dora.intercept(params, trained, detach_norm=detach) as variables:
            return jnp.sum(jnp.cos(model.apply(variables, x)))

    both = [jax.jit(jax.value_and_grad(f, (0, 1)))(trained, x) for f in (applied, intercepted)]
    for expected, actual in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_dropout_is_the_formula_by_hand():
    """`x W + (c - 1) d(x) W + s (d(x) A) B c`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6))
    params = {"kernel": jnp.asarray(rng.normal(size=(6, 6)), jnp.float32)}
    model, rate = nn.Dense(6, use_bias=False), 0.25

    def run(params, trained):
        key = jax.random.key(7)
        with dora.intercept(params, trained, dropout=rate) as variables:
            return model.apply(variables, jnp.asarray(x, jnp.float32), rngs={"dropout": key})

    # W = 0 and A = B = I: what comes out is what is left of the input.
    eye = dora.Adapter(a=jnp.eye(6), b=jnp.eye(6), m=None, scale=1.0, layout="io")
    dropped = run(jax.tree.map(jnp.zeros_like, params), {"kernel": eye})
    gone = np.asarray(dropped) == 0
    assert 0.15 < np.mean(gone) < 0.35
    np.testing.assert_allclose(dropped, np.where(gone, 0, x / (1 - rate)), rtol=1e-6)

    trained = _moved(dora.init(jax.random.key(1), params, [dora.AdapterRule("kernel", 2, 3.0)]), 2)
    node = trained["kernel"]
    w, a, b, m = (np.asarray(x, np.float64) for x in (params["kernel"], node.a, node.b, node.m))
    v = w + node.scale * a @ b
    c = m / np.sqrt(np.sum(v * v, axis=0, keepdims=True))
    d = np.where(gone, 0, x / (1 - rate))
    expected = x @ w + (c - 1) * (d @ w) + node.scale * (d @ a @ b) * c
    np.testing.assert_allclose(run(params, trained), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def adapted():
    """The small model with every switch, adapters on all kernels and rows that are trained."""
    config = small_model.config(use_uboo=True, time_chunk=6, remat="full")  # two pieces of time
    params = small_model.random_parameters(config)
    rules = (*dora.all_linear(2, 3.0), dora.RowRule(((1, 1), (11, 12))))
    return MMRecLM(config), params, _moved(dora.init(jax.random.key(0), params, rules), 3)


def test_the_scanned_model_reads_the_same_both_ways(adapted):
    model, params, trained = adapted
    tokens = small_model.random_tokens()

    def loss(logits, others):
        return jnp.mean(jnp.square(logits)) + others["uboo"]

    def applied(trained):
        logits, _, others = model.apply({"params": dora.apply(params, trained)}, tokens)
        return loss(logits, others), logits

    def intercepted(trained):
        squares = dora.squares(params, trained)
        with dora.intercept(params, trained, squares=squares) as variables:
            logits, _, others = model.apply(variables, tokens)
        return loss(logits, others), logits

    both = [jax.jit(jax.value_and_grad(f, has_aux=True))(trained) for f in (applied, intercepted)]
    (_, expected), (_, actual) = both[0][0], both[1][0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    for (path, e), a in zip(
        jax.tree_util.tree_leaves_with_path(both[0][1]), jax.tree.leaves(both[1][1]), strict=True
    ):
        scale = float(jnp.max(jnp.abs(e)))
        assert scale > 0, path
        np.testing.assert_allclose(a, e, rtol=0, atol=2e-5 * scale, err_msg=str(path))


def test_a_module_of_another_kind_is_refused():
    params = {"kernel": jnp.ones((4, 4))}

    class Own(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x @ self.param("kernel", nn.initializers.ones, (4, 4))

    trained = dora.init(jax.random.key(0), params, [dora.AdapterRule("kernel", 2, 1.0)])
    with (
        dora.intercept(params, trained) as variables,
        pytest.raises(TypeError, match="Own cannot be intercepted; use apply"),
    ):
        Own().apply(variables, jnp.ones((1, 4)))
