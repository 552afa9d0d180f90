"""One table or two, beside Flax's `Embed` and a product by NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.vocabulary import Vocabulary, one_table

_ROWS, _NEW, _PADDING, _WIDTH = 10, 4, 2, 3
_TOKENS = jnp.int32([[0, 5, 6, 9, 5], [6, 6, 5, 0, 7]])
_EXTENDED = {"new_rows": _NEW, "padding_rows": _PADDING}


def _found(module, params):
    """Rows of the tokens, and the gradients of the tables."""
    weights = jnp.cos(jnp.arange(float(_TOKENS.size * _WIDTH))).reshape(*_TOKENS.shape, _WIDTH)

    def total(params):
        x = module.apply({"params": params}, _TOKENS)
        return jnp.sum(x.astype(jnp.float32) * weights), x

    (_, x), gradients = jax.value_and_grad(total, has_aux=True)(params)
    return np.asarray(x), jax.device_get(gradients)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_is_an_embed_bit_for_bit(dtype):
    init = nn.initializers.normal(0.3)
    ours = Vocabulary(MMRecConfig(_ROWS), _WIDTH, 0.3, dtype, casts_table=True)
    flax = nn.Embed(_ROWS, _WIDTH, dtype=dtype, embedding_init=init)
    params, same = (each.init(jax.random.key(0), _TOKENS)["params"] for each in (ours, flax))
    np.testing.assert_array_equal(params["embedding"], same["embedding"])
    found, expected = _found(ours, params), _found(flax, params)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert found[0].dtype == dtype


def test_two_tables_are_one_and_padding_has_no_logits():
    config = MMRecConfig(_ROWS, model_dim=8, num_memories=2, **_EXTENDED)
    module = Vocabulary(config, _WIDTH)
    params = module.init(jax.random.key(0), _TOKENS)["params"]
    assert params["new_embedding"].shape == (_NEW, _WIDTH)
    table = np.concatenate([params["embedding"], params["new_embedding"]])
    x, gradients = _found(module, params)
    np.testing.assert_array_equal(x, table[_TOKENS])
    whole = nn.Embed(_ROWS, _WIDTH)
    _, expected = _found(whole, {"embedding": table})
    both = one_table({"embed": gradients})["embed"]["embedding"]
    np.testing.assert_allclose(both, expected["embedding"], rtol=1e-6)
    logits = config.build().head({"embed": params}, x)
    products = x @ table.T
    np.testing.assert_allclose(logits[..., :-_PADDING], products[..., :-_PADDING], rtol=1e-5)
    np.testing.assert_array_equal(logits[..., -_PADDING:], np.finfo(np.float32).min)
