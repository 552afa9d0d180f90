"""Reading a text of any length into the state, in pieces of two compiled lengths."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.inference.text_state import TextState
from mmrec_jax.inference.text_stream import CONTEXT
from mmrec_jax.models.mmrec.model import MMRecLM, forward
from mmrec_jax.models.mmrec.state import MMRecState, zero_state
from mmrec_jax.typing import Array

# Prompts are read in pieces of these lengths, the last one padded: two compilations serve all.
_LENGTHS = (32, 256)


@partial(jax.jit, static_argnames="model")
def _read(
    model: MMRecLM, params: Any, tokens: Array, state: MMRecState, segment_ids: Array
) -> tuple[Array, MMRecState]:
    """Logits `[B, V]` after the last real token, and the state."""
    logits, state, _ = forward(model, params, tokens, state, segment_ids)
    last = jnp.sum(segment_ids > 0, axis=1) - 1
    return jnp.take_along_axis(logits, last[:, None, None], axis=1)[:, 0], state


def prefill(
    model: MMRecLM, params: Any, tokens: np.ndarray, state: MMRecState
) -> tuple[Array, MMRecState]:
    """Reads one sequence, the same for all rows of `state`, as a continuation of it.

    Args:
      model: the model.
      params: its parameters.
      tokens: `[n]` ids, n >= 1.
      state: what has been read before.

    Returns:
      Logits `[B, V]` for the token after the last one, and the state.
    """
    rows = state.segment.shape[0]
    segment = np.maximum(np.asarray(state.segment), 1)
    logits = None
    for begin, length in _pieces(len(tokens)):
        piece = tokens[begin : begin + length]
        padded = np.zeros((rows, length), np.int32)
        padded[:, : len(piece)] = piece
        ids = np.where(np.arange(length) < len(piece), segment[:, None], 0).astype(np.int32)
        logits, state = _read(model, params, jnp.asarray(padded), state, jnp.asarray(ids))
    assert logits is not None, "prefill needs at least one token"
    return logits, state


def read(
    model: MMRecLM, params: Any, tokens: np.ndarray, before: TextState | None = None
) -> TextState:
    """Reads tokens as the continuation of a document.

    Args:
      model: the model.
      params: its parameters.
      tokens: `[n]` ids, n >= 1; those of a new document begin with the begin token.
      before: the document so far; None: the tokens begin one.

    Returns:
      The document with the tokens. An incomplete character at the end of `before` is cut off by
      them: its text is not told any more.
    """
    memory = before.memory if before else zero_state(model.config, 1)
    logits, memory = prefill(model, params, tokens, memory)
    seen = before.seen.copy() if before else np.zeros(logits.shape, bool)
    seen[0, tokens] = True
    ids = (*(before.tail if before else ()), *map(int, tokens))
    return TextState(
        memory=memory,
        logits=np.asarray(logits),
        seen=seen,
        draws=before.draws if before else 0,
        tail=ids[-CONTEXT:],
    )


def _pieces(total: int) -> Iterator[tuple[int, int]]:
    """Start and compiled length of each piece of a prompt of `total` tokens."""
    short, long = _LENGTHS
    begin = 0
    while begin < total:
        length = short if total - begin <= short else long
        yield begin, length
        begin += length
