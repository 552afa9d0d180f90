"""Small untrained models of three families, whose next token depends on all that they have read.

`GRU` shows what a family needs; `Attention` keeps no state.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmrec_jax.models import registry
from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.models.linen import LinenModel
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.settings import at_least, setting

_LONGEST = 300


@registry.FAMILIES.register("small_gru")
@dataclasses.dataclass(frozen=True)
class GRUConfig(FamilyConfig):
    """A layer of gated recurrent units."""

    family: ClassVar[str] = "small_gru"
    width: int = setting(16, "D", at_least(1))

    def build(self):
        return GRU(self)


@flax.struct.dataclass
class GRUState:
    hidden: Any  # [B, D], float32
    segment: Any  # [B], of the last real token


class _Network(nn.Module):
    config: GRUConfig

    @nn.compact
    def __call__(self, tokens, state=None, segment_ids=None, *, deterministic=True, perturb=None):
        rows, width = tokens.shape[0], self.config.width
        if state is None:
            state = self.config.build().initial_state(rows)
        if segment_ids is None:
            ids = jnp.maximum(state.segment, 1)[:, None]
            segment_ids = jnp.broadcast_to(ids, tokens.shape)
        x = nn.Embed(self.config.vocab_size, width, name="embed")(tokens)
        cell = nn.GRUCell(width, name="cell")

        def step(cell, state, at):
            x, segment = at
            begins = (segment != state.segment)[:, None]
            after, _ = cell(jnp.where(begins, 0, state.hidden), x)
            real = segment > 0
            hidden = jnp.where(real[:, None], after, state.hidden)
            return GRUState(hidden, jnp.where(real, segment, state.segment)), hidden

        over_time = nn.scan(
            step,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
        )
        state, y = over_time(cell, state, (x if perturb is None else perturb(x), segment_ids))
        return nn.Dense(self.config.vocab_size, name="head")(y), state, {}


@dataclasses.dataclass(frozen=True)
class GRU(LinenModel):
    """The model."""

    config: GRUConfig

    @property
    def module(self):
        return _Network(self.config)

    def initial_state(self, batch):
        zeros = jnp.zeros((batch, self.config.width), jnp.float32)
        return GRUState(zeros, jnp.zeros(batch, jnp.int32))

    @property
    def state_batch_axes(self):
        return GRUState(hidden=0, segment=0)


FAMILIES = ("mmrec", "gru", "attention")


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
