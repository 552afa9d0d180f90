"""Text from a trained model: read the prompt in chunks, then one token at a time on the state.

The state has a fixed size, so the ten-thousandth token costs what the tenth did.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.array_typing import Array
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.nn.model import MMRecLM, forward
from mmrec_jax.nn.state import MMRecState, zero_state
from mmrec_jax.sampling import Sampling, draw
from mmrec_jax.text_stream import TextStream

# Prompts are read in pieces of these lengths, the last one padded: two compilations serve all.
_PREFILL_LENGTHS = (32, 256)


@partial(jax.jit, static_argnames="model")
def _read(
    model: MMRecLM, params: Any, tokens: Array, state: MMRecState, segment_ids: Array
) -> tuple[Array, MMRecState]:
    """Logits `[B, V]` after the last real token, and the state."""
    logits, state, _ = forward(model, params, tokens, state, segment_ids)
    last = jnp.sum(segment_ids > 0, axis=1) - 1
    return jnp.take_along_axis(logits, last[:, None, None], axis=1)[:, 0], state


@partial(jax.jit, static_argnames=("model", "sampling"), donate_argnames=("state", "seen"))
def _step(
    model: MMRecLM,
    params: Any,
    logits: Array,
    state: MMRecState,
    seen: Array,
    key: Array,
    index: Array,
    sampling: Sampling,
) -> tuple[Array, Array, MMRecState, Array]:
    """Draws a token a row from `logits` and reads it: `(tokens, logits, state, seen)`."""
    tokens = draw(jax.random.fold_in(key, index), logits, seen, sampling)
    seen = seen.at[jnp.arange(tokens.shape[0]), tokens].set(True)
    logits, state, _ = forward(model, params, tokens[:, None], state)
    return tokens, logits[:, 0], state, seen


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


def _pieces(total: int) -> Iterator[tuple[int, int]]:
    """Start and compiled length of each piece of a prompt of `total` tokens."""
    short, long = _PREFILL_LENGTHS
    begin = 0
    while begin < total:
        length = short if total - begin <= short else long
        yield begin, length
        begin += length


def stream(
    model: MMRecLM,
    params: Any,
    prompt: np.ndarray,
    *,
    max_tokens: int,
    samples: int = 1,
    sampling: Sampling | None = None,
    seed: int = 0,
) -> Iterator[np.ndarray]:
    """Yields the next token of every sample, `[samples]` int32, `max_tokens` times.

    Args:
      model: the model.
      params: its parameters.
      prompt: `[n]` ids that begin the document (the begin token included), n >= 1.
      max_tokens: tokens to draw.
      samples: rows drawn independently after the prompt, which is read once.
      sampling: how to draw; the defaults of `Sampling` when None.
      seed: of the draws.
    """
    sampling = sampling or Sampling()
    logits, state = prefill(model, params, prompt, zero_state(model.config, 1))

    def repeat(x: Array, axis: int) -> Array:
        return jnp.repeat(x, samples, axis=axis)

    logits = repeat(logits, 0)
    state = MMRecState(
        h=repeat(state.h, 1),
        m=repeat(state.m, 1),
        segment=repeat(state.segment, 0),
        position=repeat(state.position, 0),
    )
    seen = jnp.zeros(logits.shape, bool).at[:, jnp.asarray(prompt)].set(True)
    key = jax.random.key(seed)
    for index in range(max_tokens):
        tokens, logits, state, seen = _step(
            model, params, logits, state, seen, key, np.int32(index), sampling
        )
        yield np.asarray(tokens)


def generate(
    model: MMRecLM,
    params: Any,
    tokenizer: Tokenizer,
    prompt: str = "",
    *,
    max_tokens: int = 200,
    samples: int = 1,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop_at_end: bool = True,
    on_text: Callable[[str], None] | None = None,
) -> list[str]:
    """Continues `prompt`, as the beginning of a document.

    Args:
      model: the model; `mmrec_jax.load` returns it with its parameters and tokenizer.
      params: its parameters.
      tokenizer: its tokenizer.
      prompt: text to continue; empty: a document from its first character.
      max_tokens: tokens to draw at most.
      samples: continuations to draw.
      sampling: temperature, top-k, top-p, repetition penalty.
      seed: of the draws.
      stop_at_end: end a continuation where the model ends the document.
      on_text: called with each new piece of the first continuation as soon as it is decoded.

    Returns:
      The continuations, without the prompt.
    """
    ids = np.concatenate([[tokenizer.bos_id], tokenizer.encode(prompt)]).astype(np.int32)
    drawn: list[list[int]] = [[] for _ in range(samples)]
    open_rows = set(range(samples))
    text = TextStream(tokenizer, list(ids))
    for tokens in stream(
        model,
        params,
        ids,
        max_tokens=max_tokens,
        samples=samples,
        sampling=sampling,
        seed=seed,
    ):
        for row in list(open_rows):
            if stop_at_end and tokens[row] == tokenizer.eos_id:
                open_rows.discard(row)
            else:
                drawn[row].append(int(tokens[row]))
        if on_text is not None and 0 in open_rows:
            on_text(text.push(int(tokens[0])))
        if not open_rows:
            break
    if on_text is not None and (rest := text.finish()):
        on_text(rest)
    prefix = tokenizer.decode(ids)
    return [tokenizer.decode([*ids, *row])[len(prefix) :] for row in drawn]
