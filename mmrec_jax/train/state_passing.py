"""Rows that begin from the state which other text left behind, instead of from nothing.

A model that only ever reads rows from the zero state never meets the states beyond their length,
and reads worse there. State passing (Buitrago & Gu 2025, "Understanding and improving length
generalization in recurrent models") shows it such states: in each step a row begins, with
probability `train.state_passing`, from the state that the same row of the batch before left behind
(under the parameters of that step, whatever it began from itself), and else from zeros. Rows are
drawn in a new order every time, so that is a state of unrelated text. It is a constant: no gradient
flows into the batch before.

The first document of such a row continues the passed state as if it were the text read there; the
documents behind it see nothing before them, as always. The first step of a run, and of a stage
whose batches have another shape, has no batch before it: all its rows begin from zeros.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mmrec_jax.models.api import LanguageModel, State
from mmrec_jax.objectives.api import Batch
from mmrec_jax.typing import Array


def passed_states(
    key: Array, model: LanguageModel, share: float | Array, left: State, batch: Batch
) -> State:
    """The states that the rows of a batch begin from.

    Args:
      key: what chooses the rows.
      model: whose states they are.
      share: the probability of a row to begin from a passed state, in [0, 1].
      left: the states that the batch before left behind; their `segment` [B] is the id of the
        document read last (`models/layout.py`).
      batch: `segment_ids` [B, T].
    """
    rows = len(batch["segment_ids"])
    passed = jax.random.bernoulli(key, share, (rows,))
    continued = dataclasses.replace(left, segment=batch["segment_ids"][:, 0])

    def choose(axis: int, state: Array, zeros: Array) -> Array:
        shape = [1] * state.ndim
        shape[axis] = rows
        return jnp.where(passed.reshape(shape), state, zeros)

    return jax.tree.map(choose, model.state_batch_axes, continued, model.initial_state(rows))
