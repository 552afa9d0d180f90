import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax import dora
from mmrec_jax.dora.adapted_model import adapt
from mmrec_jax.errors import UserError
from mmrec_jax.models.linen import LinenModel
from mmrec_jax.models.mmrec.model import MMRecLM
from tests.models.mmrec import small_model
from tests.small_step import assert_close, moved


class _Layers(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(8, name="dense")(x)
        return nn.Dense(5, use_bias=False, name="last")(jnp.sin(x))


def test_values_and_gradients_are_those_of_the_applied_weights(rng):
    model, x = _Layers(), rng.normal(size=(4, 3, 6)).astype(np.float32)
    rules = (
        dora.AdapterRule("dense", 2, 3.0),
        dora.AdapterRule("last", 2, 3.0, "rslora"),
        dora.WholeRule("bias"),
    )

    @jax.jit
    def start():
        params = model.init(jax.random.key(0), x)["params"]
        return params, dora.init(jax.random.key(1), params, rules)

    params, trained = moved(start(), 0.3)

    def applied(trained, x):
        return jnp.sum(jnp.cos(model.apply({"params": dora.apply(params, trained)}, x)))

    def intercepted(trained, x):
        less = {**params, "dense": {"kernel": params["dense"]["kernel"]}}
        with dora.intercept(less, trained) as variables:
            return jnp.sum(jnp.cos(model.apply(variables, x)))

    both = [jax.jit(jax.value_and_grad(f, (0, 1)))(trained, x) for f in (applied, intercepted)]
    assert_close(*both, 1e-5)


@pytest.mark.parametrize(
    ("kind", "rate", "dtype", "tolerance"),
    [
        ("dora", 0.0, "bfloat16", 2.7e-3),
        ("dora", 0.5, "bfloat16", 2.7e-3),
        ("dora", 0.5, "float32", 1e-6),
        ("lora", 0.5, "bfloat16", 2.7e-3),
    ],
)
def test_values_and_gradients_are_those_of_the_formula(rng, dtype, tolerance, kind, rate):
    """In bfloat16 within two roundings of each term, and none of the sums.

    Nothing of float32 and the size of an activation waits for the backward pass.
    """
    rows, width, rank, s = 256, 64, 8, 1.626
    w, x, g = (rng.normal(size=(n, width)).astype(dtype) for n in (width, rows, rows))
    leaves = [rng.normal(size=(width, rank)) / 8, rng.normal(size=(rank, width)) / 3]
    leaves += [8 + rng.random((1, width))] if kind == "dora" else []
    leaves = [np.float32(leaf) for leaf in leaves]
    model = nn.Dense(width, use_bias=False, dtype=dtype)

    @functools.partial(jax.jit, static_argnums=1)
    def forward(w, scale, leaves, x):
        node = dora.Adapter(*leaves, *[None] * (3 - len(leaves)), scale=scale)
        with dora.intercept({"kernel": w}, {"kernel": node}, dropout=rate) as variables:
            return model.apply(variables, x, rngs={"dropout": jax.random.key(7)})

    # W = 0 and A = B = I: what comes out is what is left of the input.
    kept = forward(0 * w, 1.0, 2 * [np.eye(width, dtype=np.float32)], np.ones_like(x))
    assert abs(np.mean(np.asarray(kept) == 0) - rate) < 0.05
    assert set(np.unique(np.float32(kept))) <= {0, 1 / (1 - rate)}

    def pulled(function, g, *inputs):
        """Value, the gradients, and what the backward pass keeps."""
        y, pull = jax.vjp(function, *inputs)
        return y, *pull(g), jax.tree.leaves(pull)

    *actual, kept_leaves = jax.jit(functools.partial(pulled, functools.partial(forward, w, s)))(
        g, leaves, x
    )
    saved = {leaf.dtype for leaf in kept_leaves if jnp.shape(leaf)[:1] == (rows,)}
    assert saved <= {x.dtype, jnp.dtype(bool)}

    def formula(leaves, x):
        a, b, *m = leaves
        norm = jnp.linalg.norm(w + s * (a @ b), axis=0, keepdims=True)
        c, d = m[0] / jax.lax.stop_gradient(norm) if m else 1, x * kept
        return x @ w + (c - 1) * (d @ w) + s * (d @ a @ b) * c

    with jax.enable_x64(True):
        w, g, kept, *inputs = jax.tree.map(np.float64, (w, g, kept, leaves, x))
        *expected, _ = jax.jit(functools.partial(pulled, formula))(g, *inputs)
    actual, expected = jax.tree.map(np.float64, (actual, expected))
    of_output, of_leaves, of_input = jax.tree.map(
        lambda a, b: np.linalg.norm(a - b) / np.linalg.norm(b), actual, expected
    )
    assert max(of_leaves) < tolerance, of_leaves
    assert max(of_output, of_input) < 1.3 * tolerance


def test_the_scanned_model_reads_the_same_both_ways():
    """Layers that are scanned over, chunks of time, and rows of the embedding that are trained."""
    config = small_model.config(gate="none", memory="decay", time_chunk=6)
    model, tokens = MMRecLM(config), small_model.random_tokens()
    params = small_model.random_parameters(config)
    rules = (*dora.all_linear(2, 3.0), dora.RowRule(((1, 1), (11, 12))))
    trained = moved(
        jax.jit(lambda params: dora.init(jax.random.key(0), params, rules))(params), 0.3
    )

    @jax.jit
    def both(trained):
        squares = dora.squares(params, trained)
        applied, _, _ = model.apply({"params": dora.apply(params, trained)}, tokens)
        with dora.intercept(params, trained, squares=squares) as variables:
            return applied, model.apply(variables, tokens)[0]

    applied, intercepted = both(trained)
    assert_close(intercepted, applied, 1e-5)


def test_what_cannot_be_intercepted_is_refused():
    class Own(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x @ self.param("kernel", nn.initializers.ones, (4, 4))

    params = {"kernel": jnp.ones((4, 4))}
    trained = dora.init(jax.random.key(0), params, [dora.AdapterRule("kernel", 2, 1.0)])
    with (
        dora.intercept(params, trained) as variables,
        pytest.raises(UserError, match=r"Own cannot be intercepted.*dora.apply"),
    ):
        Own().apply(variables, jnp.ones((1, 4)))


def test_the_head_has_its_adapters_too():
    """No module calls it, and its kernel may be adapted like any other."""

    class Network(nn.Module):
        @nn.compact
        def __call__(self, tokens, *others, **options):
            x = nn.Embed(6, 4, name="embed")(tokens)
            nn.Dense(6, use_bias=False, name="head")(x)  # makes the parameters of the head
            return nn.Dense(4, name="inner")(x), None, {}

    class Untied(LinenModel):
        head_parameters = ("head",)
        module = property(lambda self: Network())

        def head(self, params, hidden):
            return hidden @ params["head"]["kernel"]

    model, tokens = Untied(None), jnp.arange(6)[None]
    base = jax.jit(model.init)(jax.random.key(0))

    @jax.jit
    def logits(trained):
        adapted = adapt(model, base, rules)
        inner, params = adapted.unwrap(trained)
        return adapted.apply(trained, tokens).logits, inner.apply(params, tokens).logits

    rules = dora.all_linear(2, 3.0)
    trained = moved(dora.init(jax.random.key(1), base, rules), 0.3)
    assert set(trained) == {"head", "inner"}
    intercepted, applied = logits(trained)
    assert_close(intercepted, applied, 1e-5)
    headless = trained | {"head": dora.init(jax.random.key(1), base, rules)["head"]}
    assert np.max(np.abs(logits(headless)[1] - applied)) > 0.1
