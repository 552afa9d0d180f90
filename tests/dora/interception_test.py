import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax import dora
from mmrec_jax.dora import interception
from mmrec_jax.models.mmrec.model import MMRecLM
from tests.models.mmrec import small_model


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
    return jax.tree.map(
        lambda x: np.asarray(x) + 0.3 * rng.normal(size=x.shape).astype(x.dtype), tree
    )


def test_values_and_gradients_are_those_of_the_applied_weights():
    model, x = _Layers(), np.random.default_rng(0).normal(size=(4, 3, 6)).astype(np.float32)

    def start():
        params = model.init(jax.random.key(0), x)["params"]
        return params, dora.init(jax.random.key(1), params, _RULES)

    params, trained = _moved(jax.jit(start)(), 1)

    def applied(trained, x):
        params_ = dora.apply(params, trained)
        return jnp.sum(jnp.cos(model.apply({"params": params_}, x)))

    def intercepted(trained, x):
        with dora.intercept(params, trained) as variables:
            return jnp.sum(jnp.cos(model.apply(variables, x)))

    both = [jax.jit(jax.value_and_grad(f, (0, 1)))(trained, x) for f in (applied, intercepted)]
    for expected, actual in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["dora", "lora"])
def test_in_bfloat16_gradients_are_those_of_float64(monkeypatch, rng, rate, kind):
    """Within two roundings of each term, and none of the sums; with bfloat16 activations alone."""
    rows, inputs, outputs, rank = 256, 64, 48, 8
    shapes = {"w": (inputs, outputs), "x": (rows, inputs), "g": (rows, outputs)}
    numbers = {  # that bfloat16 has
        name: jnp.asarray(rng.normal(size=shape), jnp.bfloat16) for name, shape in shapes.items()
    }
    dropped = jnp.asarray((rng.random((rows, inputs)) > rate) / (1 - rate), jnp.bfloat16)
    monkeypatch.setattr(interception, "_drop", lambda _, x, rate: x * dropped.astype(x.dtype))
    leaves = {
        "a": rng.normal(size=(inputs, rank)).astype(np.float32) / 8,
        "b": rng.normal(size=(rank, outputs)).astype(np.float32) / 3,
        "m": 8 + rng.random((1, outputs), np.float32) if kind == "dora" else None,
    }

    def pull_back(dtype):
        params = {"kernel": numbers["w"].astype(dtype)}
        model = nn.Dense(outputs, use_bias=False, dtype=dtype)

        def forward(node, x):
            with dora.intercept(params, {"kernel": node}, dropout=rate) as variables:
                return model.apply(variables, x)

        wide = jnp.promote_types(dtype, jnp.float32)
        node = dora.Adapter(**leaves, scale=13 / 8 + 1e-3, layout="io")
        node = jax.tree.map(lambda x: jnp.asarray(x, wide), node)
        return jax.vjp(forward, node, numbers["x"].astype(dtype))

    y, pull = pull_back(jnp.bfloat16)
    kept = [x for x in jax.tree.leaves(pull) if jnp.shape(x)[:1] == (rows,)]
    assert kept
    assert all(x.dtype in (jnp.bfloat16, bool) for x in kept)
    actual = (y, *pull(numbers["g"]))
    with jax.enable_x64(True):
        y, pull = pull_back(jnp.float64)
        expected = (y, *pull(numbers["g"].astype(jnp.float64)))
    actual, expected = jax.tree.map(lambda x: np.asarray(x, np.float64), (actual, expected))
    of_output, of_adapter, of_input = jax.tree.map(
        lambda a, b: np.linalg.norm(a - b) / np.linalg.norm(b), actual, expected
    )
    assert max(jax.tree.leaves(of_adapter)) < 2.7e-3, of_adapter
    assert max(of_output, of_input) < 3.5e-3


def test_dropout_is_the_formula_by_hand():
    """`x W + (c - 1) d(x) W + s (d(x) A) B c`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6))
    params = {"kernel": rng.normal(size=(6, 6)).astype(np.float32)}
    model, rate, rules = nn.Dense(6, use_bias=False), 0.25, [dora.AdapterRule("kernel", 2, 3.0)]

    @jax.jit
    def run(params, trained):
        key = jax.random.key(7)
        with dora.intercept(params, trained, dropout=rate) as variables:
            return model.apply(variables, jnp.asarray(x, jnp.float32), rngs={"dropout": key})

    # W = 0 and A = B = I: what comes out is what is left of the input.
    eye = np.eye(6, dtype=np.float32)
    through = dora.Adapter(a=eye, b=eye, m=None, scale=1.0, layout="io")
    dropped = run(jax.tree.map(np.zeros_like, params), {"kernel": through})
    gone = np.asarray(dropped) == 0
    assert 0.15 < np.mean(gone) < 0.35
    np.testing.assert_allclose(dropped, np.where(gone, 0, x / (1 - rate)), rtol=1e-6)

    start = jax.jit(lambda params: dora.init(jax.random.key(1), params, rules))(params)
    trained = _moved(start, 2)
    node = trained["kernel"]
    w, a, b, m = (np.asarray(x, np.float64) for x in (params["kernel"], node.a, node.b, node.m))
    v = w + node.scale * a @ b
    c = m / np.sqrt(np.sum(v * v, axis=0, keepdims=True))
    d = np.where(gone, 0, x / (1 - rate))
    expected = x @ w + (c - 1) * (d @ w) + node.scale * (d @ a @ b) * c
    np.testing.assert_allclose(run(params, trained), expected, rtol=1e-4, atol=1e-5)


def test_the_scanned_model_reads_the_same_both_ways():
    """Layers that are scanned over, chunks of time, and rows of the embedding that are trained."""
    config = small_model.config(gate="none", memory="decay", time_chunk=6)
    model, tokens = MMRecLM(config), small_model.random_tokens()
    params = small_model.random_parameters(config)
    rules = (*dora.all_linear(2, 3.0), dora.RowRule(((1, 1), (11, 12))))
    start = jax.jit(lambda params: dora.init(jax.random.key(0), params, rules))(params)
    trained = _moved(start, 3)

    @jax.jit
    def both(params, trained):
        squares = dora.squares(params, trained)
        applied, _, _ = model.apply({"params": dora.apply(params, trained)}, tokens)
        with dora.intercept(params, trained, squares=squares) as variables:
            return applied, model.apply(variables, tokens)[0]

    expected, actual = both(params, trained)
    scale = float(np.max(np.abs(expected)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * scale)
    unchanged, _ = both(params, start)
    assert np.max(np.abs(np.asarray(unchanged - expected))) > 0.1 * scale


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
