"""What a block leaves in the collection "recurrence", and that nobody pays who does not ask."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.models.api import Training
from mmrec_jax.models.mmrec.block import RECURRENCE, Block
from mmrec_jax.models.mmrec.family import MMRec
from tests.models.mmrec import small_model


def _training_program(config):
    params, tokens = small_model.random_parameters(config), small_model.random_tokens()

    def loss(params, key):
        training = Training(key, jnp.int32(0))
        return MMRec(config).apply(params, tokens, training=training).logits.sum()

    program = jax.make_jaxpr(jax.value_and_grad(loss))(params, jax.random.key(0))
    return re.sub("0x[0-9a-f]+", "", str(program))  # addresses of functions


def test_the_program_of_training_does_not_know_of_it(monkeypatch):
    config = small_model.config(dropout=0.1, remat="full", time_chunk=4)
    recorded = _training_program(config)
    monkeypatch.setattr(Block, "_record", lambda self, *collection, **values: None)
    assert _training_program(config) == recorded


def test_a_new_model_has_parameters_alone():
    config = small_model.config()
    tokens = small_model.random_tokens()
    variables = jax.eval_shape(MMRec(config).module.init, jax.random.key(0), tokens)
    assert set(variables) == {"params"}


def _apply(config, params, **options):
    tokens = small_model.random_tokens()
    output = jax.jit(lambda params: MMRec(config).apply(params, tokens, **options))(params)
    return jax.device_get(output)


def test_pieces_of_time_lie_on_an_axis_of_their_own():
    """Also where the backward pass would recompute them."""
    config = small_model.config(remat="full", memory="decay", gate="input")
    params = small_model.random_parameters(config)
    in_pieces = dataclasses.replace(config, time_chunk=4)
    whole = _apply(config, params, capture=(RECURRENCE,))
    asked = _apply(in_pieces, params, capture=(RECURRENCE,))
    unasked = _apply(in_pieces, params)
    jax.tree.map(np.testing.assert_array_equal, asked._replace(captured={}), unasked)
    whole, pieces = (each.captured[RECURRENCE]["blocks"] for each in (whole, asked))
    by_token = {"gamma_logits", "gate_logits", "h", "k", "v", "alpha_logits", "beta"}
    assert whole.keys() == pieces.keys() == by_token
    for name in by_token:
        assert pieces[name].shape[:4] == (config.num_layers, 3, small_model.BATCH, 4)
        joined = np.concatenate(list(np.moveaxis(pieces[name], 1, 0)), axis=2)
        joined = joined[:, :, : small_model.LENGTH]
        np.testing.assert_allclose(joined, whole[name], rtol=1e-4, atol=1e-5)
