"""The forward pass over a text of any length, into a state, and over rows of tokens at once."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from mmrec_jax.inference.rereading import colocate, with_room, with_state
from mmrec_jax.models.api import LanguageModel, Params, State
from mmrec_jax.typing import Array, Bool, Float

# A text is read in chunks of these lengths, the last one padded: two compilations serve all.
_LENGTHS = (32, 256)
# Tokens decoded again with each new one: a token's text may depend on what stands before it
# (sentencepiece drops a leading space, byte tokens form one character).
CONTEXT = 8


@dataclasses.dataclass(frozen=True)
class TextState:
    """All that is needed to continue a text as if it had never stopped.

    Continuing it leaves it as it is: that is a fork.
    """

    state: State  # the model's after the last token, one row; of a model without one, the text
    # float32, of the token that comes next. They are kept because `state` does not give them: to
    # compute them anew, the last token would be read, and written into it, twice.
    logits: Float[np.ndarray, "1 V"]
    seen: Bool[np.ndarray, "1 V"]  # the tokens of the document, which the repetition penalty needs
    length: int  # tokens of the document so far, the begin token included
    # Tokens drawn so far. The random numbers of a draw depend on the seed and on this count, so a
    # text continued with its seed is the text that was never interrupted.
    draws: int
    tail: tuple[int, ...]  # the last ids, from which text is decoded across the border
    pending: int = 0  # how many of them have no text yet: bytes of a character that is incomplete


def prefill(
    model: LanguageModel, params: Params, tokens: np.ndarray, before: TextState | None = None
) -> TextState:
    """The document `before`, or a new one if None, continued by tokens.

    `tokens` are `[n]` ids, n >= 1; those of a new document begin with the begin token. An
    incomplete character at the end of `before` is cut off by them: its text is lost.
    """
    model = with_state(model)
    state = colocate(params, before.state if before else model.initial_state(1))
    logits = None
    for begin, length in _chunks(len(tokens)):
        chunk = tokens[begin : begin + length]
        padded, real = np.zeros((2, 1, length), np.int32)
        padded[0, : len(chunk)], real[0, : len(chunk)] = chunk, 1
        logits, state = _forward(model, params, padded, with_room(state, length), real)
    assert logits is not None, "prefill needs at least one token"
    seen = before.seen.copy() if before else np.zeros(logits.shape, bool)
    seen[0, tokens] = True
    ids = (*(before.tail if before else ()), *map(int, tokens))
    return TextState(
        state=state,
        logits=np.asarray(logits),
        seen=seen,
        length=(before.length if before else 0) + len(tokens),
        draws=before.draws if before else 0,
        tail=ids[-CONTEXT:],
    )


def logits(model: LanguageModel, params: Params, tokens: ArrayLike) -> Float[Array, "B T V"]:
    """What the model predicts after each token of some rows, each a document from its beginning.

    `tokens` are ids [B, T]; `mmrec_jax.load` returns a model with its parameters.

    Returns:
      Logits in float32; those at t predict token t + 1. Compiled once for each shape.

    Raises:
      ValueError: the tokens are no ids [B, T] of the model's vocabulary, or there is none.
    """
    ids, size = np.asarray(tokens), model.config.vocab_size
    if ids.ndim != 2 or not ids.size or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"tokens must be integers [B, T]; they are {ids.dtype} {list(ids.shape)}")
    if not 0 <= ids.min() <= ids.max() < size:
        raise ValueError(
            f"tokens are from {ids.min()} to {ids.max()}; the vocabulary is from 0 to {size - 1}"
        )
    return _logits(model, params, ids.astype(np.int32))


@jax.jit
def _logits(model: LanguageModel, params: Params, tokens: Array) -> Array:
    return model.apply(params, tokens).logits


@jax.jit
def _forward(
    model: LanguageModel, params: Params, tokens: Array, state: State, segment_ids: Array
) -> tuple[Array, State]:
    """Logits `[B, V]` after the last real token, and the state."""
    output = model.apply(params, tokens, state, segment_ids)
    last = jnp.sum(segment_ids > 0, axis=1) - 1
    hidden = jnp.take_along_axis(output.hidden, last[:, None, None], axis=1)
    return output.head(hidden)[:, 0], output.state


def _chunks(total: int) -> Iterator[tuple[int, int]]:
    """Start and compiled length of each chunk of a text of `total` tokens."""
    short, long = _LENGTHS
    begin = 0
    while begin < total:
        length = short if total - begin <= short else long
        yield begin, length
        begin += length
