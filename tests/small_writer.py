"""An untrained model over bytes that writes: its next tokens depend on all it has read."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.models.mmrec.model import MMRecLM
from tests.small_run import small_model

TOKENIZER = ByteTokenizer()
CONFIG = small_model(vocab_size=258, gate="input", gamma_halflife_max=64.0)
MODEL = MMRecLM(CONFIG)
_LONGEST = 300


@functools.cache
def parameters():
    """Its parameters, with an embedding large enough that logits differ."""

    def start():
        params = MODEL.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
        return params | {"embed": jax.tree.map(lambda x: x * 10, params["embed"])}

    return jax.jit(start)()


@jax.jit
def _whole(params, tokens, real):
    return MODEL.apply({"params": params}, tokens, None, real.astype(jnp.int32))


def forward(params, ids):
    """Logits of every token of `ids` and the state, from one call on the whole sequence."""
    tokens = np.zeros((1, _LONGEST), np.int32)
    tokens[0, : len(ids)] = ids
    real = np.arange(_LONGEST)[None] < len(ids)
    logits, state, _ = _whole(params, jnp.asarray(tokens), jnp.asarray(real))
    return np.asarray(logits[0, : len(ids)]), state
