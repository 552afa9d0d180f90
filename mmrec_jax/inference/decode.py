"""One decode step over rows of texts; each has settings of its own, and may come and go.

`generate` writes the samples of one text in rows, the server a conversation in each.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.errors import UserError
from mmrec_jax.inference.prefill import TextState
from mmrec_jax.inference.rereading import with_room
from mmrec_jax.inference.sampling import RowSampling, Sampling, draw
from mmrec_jax.models.api import LanguageModel, Params, State
from mmrec_jax.models.growing_state import GrowingState
from mmrec_jax.settings import LARGEST_SEED
from mmrec_jax.typing import Array, Bool, Float, Int, Integer

_ENDS = 16  # that there is room for: texts and conversations have others, and one program


@flax.struct.dataclass
class Rows:
    """Texts that are being written, one per row."""

    state: State
    logits: Float[Array, "B V"]  # of the next token
    seen: Bool[Array, "B V"]
    ended: Bool[Array, "B"]  # what is drawn for it is padding
    ends: Int[Array, "B E"]  # tokens at which it ends; -1: none
    # Of each draw's random numbers. Sample i of a seed is the same, however many there are.
    seed: Integer[Array, "B"]
    sample: Int[Array, "B"]
    draws: Int[Array, "B"]
    sampling: RowSampling

    def __len__(self) -> int:
        return self.ended.shape[0]


class Drawn(NamedTuple):
    """The next token of each row, and its log-probability before temperature and truncation."""

    tokens: Int[Array, "B"]
    logprobs: Float[Array, "B"]


def begin_rows(
    model: LanguageModel,
    text: TextState,
    samples: Sequence[int],
    *,
    sampling: Sampling,
    seed: int,
    ends: Sequence[int],
) -> Rows:
    """Rows that continue `text`, which is left as it is: one for each number of a sample.

    Those of at most 16 `ends` may stand in one batch.

    Raises:
      UserError: a seed that JAX would take for another one.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed is {seed}; it must be in 0 to {LARGEST_SEED}")
    row: dict[str, Any] = {
        "state": text.state,
        "logits": text.logits,
        "seen": text.seen,
        "ended": np.zeros(1, bool),
        "ends": np.array([[*ends, *[-1] * (_ENDS - len(ends))]], np.int32),
        "seed": np.array([seed], np.uint32),
        "sample": np.zeros(1, np.int32),
        "draws": np.array([text.draws], np.int32),
        "sampling": sampling.rows(1),
    }
    rows = take_rows(model, [Rows(**row)], [0] * len(samples), len(samples))
    return dataclasses.replace(rows, sample=jnp.array(samples, jnp.int32))


def step(model: LanguageModel, params: Params, rows: Rows, ids: np.int32) -> tuple[Drawn, Rows]:
    """Draws one of the first `ids` tokens for each row and applies the model; consumes `rows`.

    A row that drew one of its ends is left as it was, and draws the first of them from then on.
    """
    rows = dataclasses.replace(rows, state=with_room(rows.state, 1))
    return _step(model, params, rows, ids)


@partial(jax.jit, donate_argnames="rows")
def _step(model: LanguageModel, params: Params, rows: Rows, ids: Array) -> tuple[Drawn, Rows]:
    logits = _possible(rows.logits, ids)
    keys = jax.vmap(_key)(rows.seed, rows.sample, rows.draws)
    tokens = draw(keys, logits, rows.seen, rows.sampling)
    tokens = jnp.where(rows.ended, jnp.maximum(rows.ends[:, 0], 0), tokens)
    logprobs = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, None], axis=1)[:, 0]
    ended = rows.ended | jnp.any(tokens[:, None] == rows.ends, axis=1)
    # To a row that has ended the token is padding, which leaves the state untouched.
    segment_ids = (~ended).astype(jnp.int32)
    output = model.apply(params, tokens[:, None], rows.state, segment_ids[:, None])
    after = dataclasses.replace(
        rows,
        state=output.state,
        logits=jnp.where(ended[:, None], rows.logits, output.logits[:, 0]),
        seen=rows.seen.at[jnp.arange(tokens.shape[0]), tokens].max(~ended),
        ended=ended,
        draws=rows.draws + 1,
    )
    return Drawn(tokens, logprobs), after


@partial(jax.jit, static_argnames="count")
def top_logprobs(rows: Rows, ids: np.int32, count: int) -> tuple[Array, Array]:
    """The `count` most likely next tokens of each row: log-probabilities, ids [B, count]."""
    return jax.lax.top_k(jax.nn.log_softmax(_possible(rows.logits, ids)), count)


def take_rows(
    model: LanguageModel, parts: Sequence[Rows], indices: Sequence[int], count: int
) -> Rows:
    """The rows at the indices, in their order, of all parts one behind another.

    Up to `count`, at least as many, other rows follow in which nothing is written.
    """
    states = [part.state for part in parts]
    if isinstance(states[0], GrowingState):
        room = max(state.room for state in states)
        states = [state.resized(room) for state in states]
    parts = [dataclasses.replace(x, state=state) for x, state in zip(parts, states, strict=True)]
    others = [indices[0]] * (count - len(indices))
    return _take_rows(model, parts, np.array([*indices, *others], np.int32), len(indices))


@jax.jit
def _take_rows(model: LanguageModel, parts: Sequence[Rows], indices: Array, written: int) -> Rows:
    def taken(axis: int, *arrays: Array) -> Array:
        return jnp.take(jnp.concatenate(arrays, axis), indices, axis)

    rows: Rows = jax.tree.map(taken, _batch_axes(model), *parts)
    others = jnp.arange(len(indices)) >= written
    return dataclasses.replace(rows, ended=rows.ended | others)


def _batch_axes(model: LanguageModel) -> Any:
    axes: dict[str, Any] = {field.name: 0 for field in dataclasses.fields(Rows)}
    axes |= {"state": model.state_batch_axes, "sampling": RowSampling(*[0] * 4)}  # type: ignore[arg-type]
    return Rows(**axes)


def _possible(logits: Array, ids: Array | np.int32) -> Array:
    """Logits of which those of padding of the vocabulary are -inf."""
    return jnp.where(jnp.arange(logits.shape[1]) < ids, logits, -jnp.inf)


def _key(seed: Array, sample: Array, index: Array) -> Array:
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), sample), index)
