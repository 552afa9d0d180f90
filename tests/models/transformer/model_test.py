"""The decoder by itself; beside `transformers`: `tests/parity`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmrec_jax.models.transformer.config import TransformerConfig
from tests.small_step import VOCABULARY, assert_close, batch, build, mesh, moved, on_mesh

_SIZES = {"vocab_size": VOCABULARY, "model_dim": 16, "num_layers": 2, "head_dim": 8, "ffn_dim": 32}
_QWEN3 = {"qk_norm": True, "tie_embeddings": False}


def _model(**fields):
    return TransformerConfig(**{**_SIZES, **fields}).build()


def _gradient(shape, accumulate=1, **fields):
    model = _model(**fields)
    state, step = on_mesh(mesh(*shape), model, build(model), accumulate=accumulate)
    after, metrics = step(model, state, batch())
    return jax.device_get((after.opt_state, metrics["loss"]))


@pytest.mark.parametrize(
    ("fields", "remat"), [({**_QWEN3, "attention_bias": "qkvo"}, "full"), ({}, "dots")]
)
def test_a_mesh_of_three_axes_has_the_gradient_of_one_device_that_recomputes_nothing(fields, remat):
    """In two microbatches, with everything that has a rule of its own; and tied."""
    one = _gradient((1, 1, 1), **fields, new_rows=4, remat="none")
    assert_close(_gradient((2, 2, 2), 2, **fields, new_rows=4, remat=remat), one, 1e-5)


def test_two_tables_are_one():
    """Logits, and the gradients of old and new rows."""
    whole, split = _model(tie_embeddings=False), _model(tie_embeddings=False, new_rows=6)
    params = moved(jax.device_get(jax.jit(whole.init)(jax.random.key(0))))
    border = VOCABULARY - 6

    def parted(tree):
        cut = {name: tree[name]["embedding"] for name in ("embed", "head")}
        return tree | {
            name: {"embedding": x[:border], "new_embedding": x[border:]} for name, x in cut.items()
        }

    tokens = jnp.arange(2 * VOCABULARY).reshape(2, -1) % VOCABULARY
    weights = np.random.default_rng(0).normal(size=(*tokens.shape, VOCABULARY))

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradient(model, params):
        def total(params):
            logits = model.apply(params, tokens).logits
            return jnp.sum(logits * weights), logits

        (_, logits), gradient = jax.value_and_grad(total, has_aux=True)(params)
        return logits, gradient

    logits, gradient = value_and_gradient(whole, params)
    assert_close(value_and_gradient(split, parted(params)), (logits, parted(gradient)), 1e-5)


def test_training_pays_nothing_for_the_cache_that_it_does_not_ask_for():
    model = _model(num_layers=8, remat="full")
    params = jax.eval_shape(model.init, jax.random.key(0))
    tokens = jax.ShapeDtypeStruct((4, 512), jnp.int32)

    def compiled(keep):
        def loss(params, tokens):
            output = model.apply(params, tokens, None, tokens)
            return jnp.mean(output.hidden**2), output.state if keep else None

        gradient = jax.jit(jax.grad(loss, has_aux=True))
        analysis = gradient.lower(params, tokens).compile().memory_analysis()
        return analysis.temp_size_in_bytes + analysis.output_size_in_bytes

    cache = 2 * 8 * 4 * 512 * 2 * 8 * 4  # keys and values, float32
    assert compiled(keep=True) - compiled(keep=False) >= cache
