"""Rows that begin from the state which other text left behind, instead of from nothing.

A model that only ever reads rows from the zero state never meets the states beyond their length,
and reads worse there. State passing (Buitrago & Gu 2025, "Understanding and improving length
generalization in recurrent models") shows it such states: in each step a row begins, with
probability `train.state_passing`, from the state that the same row of the batch before left behind
(under the parameters of that step, whatever it began from itself), and else from zeros. Rows are
drawn in a new order every time, so that is a state of unrelated text. It is a constant: no gradient
flows into the batch before.

Such a row is read as one document that continues the passed state: short documents that begin anew
inside a row would never see a state older than themselves. The first step of a run, and of a stage
whose batches have another shape, has no batch before it: all its rows begin from zeros.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mmrec_jax.models.api import LanguageModel, State
from mmrec_jax.objectives.api import Batch
from mmrec_jax.typing import Array


def pass_states(
    key: Array, model: LanguageModel, share: float | Array, left: State, batch: Batch
) -> tuple[State, Batch]:
    """The states that the rows of a batch begin from, and the batch as they are read.

    Args:
      key: what chooses the rows.
      model: whose states they are.
      share: the probability of a row to begin from a passed state, in [0, 1].
      left: the states that the batch before left behind; their `segment` [B] is the id of the
        document read last (`models/layout.py`).
      batch: `segment_ids` [B, T].
    """
    ids = batch["segment_ids"]
    rows, first = len(ids), ids[:, 0]
    passed = jax.random.bernoulli(key, share, (rows,))
    continued = dataclasses.replace(left, segment=first)
    ids = jnp.where(passed[:, None] & (ids > 0), first[:, None], ids)

    def choose(axis: int, state: Array, zeros: Array) -> Array:
        shape = [1] * state.ndim
        shape[axis] = rows
        return jnp.where(passed.reshape(shape), state, zeros)

    begin = jax.tree.map(choose, model.state_batch_axes, continued, model.initial_state(rows))
    return begin, {**batch, "segment_ids": ids}
