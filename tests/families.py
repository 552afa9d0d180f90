"""Small untrained models of four families, whose next token depends on all that they have read.

`tests/models/gru.py` shows what a family needs; attention keeps no state,
the transformer's grows.
"""

import dataclasses
import functools

import jax
import numpy as np

from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.growing_state import GrowingState
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.transformer.config import TransformerConfig
from tests.models.gru import GRUConfig

_LONGEST = 300
FAMILIES = ("mmrec", "gru", "attention", "transformer")


@functools.cache
def small(family, vocab_size=258, **fields):
    """A model of a family, and parameters that make it sure of something."""
    small = {
        "mmrec": lambda: MMRecConfig(
            **{"vocab_size": vocab_size, "model_dim": 16, "num_layers": 2, "num_memories": 2}
            | {"chunk": 8, "remat": "none", "gate": "input", "gamma_halflife_max": 64.0}
            | fields
        ),
        "gru": lambda: GRUConfig(vocab_size, **fields),
        "attention": lambda: AttentionConfig(vocab_size, 16, 2, 2, 32, **fields),
        "transformer": lambda: TransformerConfig(
            **{"vocab_size": vocab_size, "model_dim": 16, "num_layers": 2, "head_dim": 8}
            | {"ffn_dim": 32}
            | fields
        ),
    }
    model = small[family]().build()

    def start():
        params = model.init(jax.random.key(0))
        factor = 4.0 if family == "gru" else 1.5
        params = jax.tree.map(lambda x: factor * x, params)
        return params | {"embed": jax.tree.map(lambda x: 7 * x, params["embed"])}

    return model, jax.jit(start)()


@jax.jit
def _whole(model, params, tokens, segment_ids):
    return model.apply(params, tokens, None, segment_ids)


def whole(model, params, ids):
    """Logits of every token of `ids` and the state, from one call on the whole sequence."""
    tokens = np.zeros((1, _LONGEST), np.int32)
    tokens[0, : len(ids)] = ids
    output = _whole(model, params, tokens, np.int32(np.arange(_LONGEST)[None] < len(ids)))
    return np.asarray(output.logits[0, : len(ids)]), output.state


def used(state, axes):
    """What a state holds, whatever room there is beside it; `axes` are those of its rows."""
    if not isinstance(state, GrowingState):
        return state
    length = np.asarray(state.used)
    arrays = {}
    for name, axis in state.room_axes.items():
        x = np.moveaxis(getattr(state, name), (getattr(axes, name), axis), (0, 1))
        x = x[:, : length.max(initial=0)]
        filled = np.arange(x.shape[1]) < length[:, None]
        arrays[name] = np.where(filled.reshape(*filled.shape, *[1] * (x.ndim - 2)), x, 0)
    return dataclasses.replace(state, **arrays)
