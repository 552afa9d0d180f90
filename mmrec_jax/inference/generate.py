"""Text from a trained model: read the prompt in chunks, then one token at a time on the state.

The state has a fixed size, so the ten-thousandth token costs what the tenth did.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.errors import UserError
from mmrec_jax.inference.prefill import read
from mmrec_jax.inference.sampling import Sampling, draw
from mmrec_jax.inference.text_state import TextState
from mmrec_jax.inference.text_stream import TextStream
from mmrec_jax.models.mmrec.model import MMRecLM, forward
from mmrec_jax.models.mmrec.state import MMRecState
from mmrec_jax.settings import LARGEST_SEED
from mmrec_jax.typing import Array, Bool, Float


@flax.struct.dataclass
class Rows:
    """Texts that are being written, one a row."""

    memory: MMRecState
    logits: Float[Array, "B V"]
    seen: Bool[Array, "B V"]
    ended: Bool[Array, "B"]


@partial(jax.jit, static_argnames=("model", "sampling"), donate_argnames="rows")
def _step(
    model: MMRecLM,
    params: Any,
    rows: Rows,
    key: Array,
    index: Array,
    ends: Array,
    sampling: Sampling,
) -> tuple[Array, Rows]:
    """Draws a token a row and reads it; a row that drew one of `ends` stays as it was before it."""
    tokens = draw(jax.random.fold_in(key, index), rows.logits, rows.seen, sampling)
    tokens = jnp.where(rows.ended, ends[0], tokens)
    ended = jnp.isin(tokens, ends)
    seen = rows.seen.at[jnp.arange(tokens.shape[0]), tokens].max(~ended)
    # To a row that has ended the token is padding, which leaves the memories untouched.
    segment_ids = jnp.where(ended, 0, jnp.maximum(rows.memory.segment, 1))
    logits, memory, _ = forward(model, params, tokens[:, None], rows.memory, segment_ids[:, None])
    logits = jnp.where(ended[:, None], rows.logits, logits[:, 0])
    return tokens, Rows(memory=memory, logits=logits, seen=seen, ended=ended)


def stream(
    model: MMRecLM,
    params: Any,
    state: TextState,
    *,
    max_tokens: int,
    samples: int = 1,
    sampling: Sampling | None = None,
    seed: int = 0,
    ends: Sequence[int] = (),
) -> Iterator[tuple[np.ndarray, Rows]]:
    """Yields the next token of every sample, `[samples]` int32, `max_tokens` times.

    With it come the rows after that token, on the device and valid until the next one is asked
    for. A row that drew one of `ends` yields the first of them from then on, and stays as it was
    before.

    Args:
      model: the model.
      params: its parameters.
      state: the document that each sample continues; it is left as it is.
      max_tokens: tokens to draw.
      samples: rows drawn independently.
      sampling: how to draw; the defaults of `Sampling` when None.
      seed: of the draws.
      ends: the tokens that end a row.
    """
    sampling = sampling or Sampling()

    def repeat(x: Array | np.ndarray, axis: int = 0) -> Array:
        return jnp.repeat(jnp.array(x), samples, axis=axis)  # a copy: `_step` consumes its rows

    memory = state.memory
    rows = Rows(
        memory=MMRecState(
            h=repeat(memory.h, 1),
            m=repeat(memory.m, 1),
            segment=repeat(memory.segment),
            position=repeat(memory.position),
        ),
        logits=repeat(state.logits),
        seen=repeat(state.seen),
        ended=jnp.zeros(samples, bool),
    )
    if not 0 <= seed <= LARGEST_SEED:
        raise UserError(f"seed is {seed}; it must be in 0 to {LARGEST_SEED}")
    key = jax.random.key(seed)
    # Of two at least, so that one compiled step serves a text and a conversation.
    last = np.resize(np.array(ends or [-1], np.int32), max(2, len(ends)))
    for index in range(state.draws, state.draws + max_tokens):
        tokens, rows = _step(model, params, rows, key, np.int32(index), last, sampling)
        yield np.asarray(tokens), rows


def generate(
    model: MMRecLM,
    params: Any,
    tokenizer: Tokenizer,
    prompt: str | np.ndarray = "",
    *,
    max_tokens: int = 200,
    samples: int = 1,
    sampling: Sampling | None = None,
    seed: int = 0,
    stop_at_end: bool = True,
    stops: Sequence[int] | None = None,
    on_text: Callable[[str], None] | None = None,
    state: TextState | None = None,
    on_state: Callable[[TextState], None] | None = None,
) -> list[str]:
    """Continues `prompt`, as the beginning of a document or as a continuation of `state`.

    Args:
      model: the model; `mmrec_jax.load` returns it with its parameters and tokenizer.
      params: its parameters.
      tokenizer: its tokenizer.
      prompt: text to continue; empty: a document from its first character, or `state` as it is.
        Or ids, int32 [n], n >= 1, read as they are.
      max_tokens: tokens to draw at most; 0 only reads the prompt.
      samples: continuations to draw.
      sampling: temperature, top-k, top-p, repetition penalty.
      seed: of the draws. Their count goes on from `state`: with the same seed and no prompt the
        text is the one that would have come without the interruption, bit for bit.
      stop_at_end: end a continuation where the model draws one of `stops`.
      stops: ids; None: the one that ends a document.
      on_text: called with each new piece of the first continuation as soon as it is decoded.
      state: the document so far (`mmrec_jax.load_state`, or what `on_state` got); the prompt is
        appended to the same document. It is left as it is, and can be continued again.
      on_state: called at the end, with one sample alone, with the state after the text: the
        prompt and the text returned, and not the token at which the model stopped. The
        bytes of a character still incomplete are in the state and its text comes with the
        continuation.

    Returns:
      The continuations, without the prompt.

    Raises:
      ValueError: `on_state` with more than one sample: a state holds one text.
    """
    if on_state is not None and samples != 1:
        raise ValueError(f"on_state needs samples=1, not {samples}: a state holds one text")
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else prompt
    if state is None and isinstance(prompt, str):
        ids = np.concatenate([[tokenizer.bos_id], ids]).astype(np.int32)
    ends = tuple(stops or (tokenizer.eos_id,)) if stop_at_end else ()
    start = read(model, params, ids, state) if state is None or len(ids) else state
    known = list(start.tail[: len(start.tail) - start.pending])
    waiting = list(start.tail[len(known) :])
    written = [list(waiting) for _ in range(samples)]
    open_rows = set(range(samples))
    text = TextStream(tokenizer, start.tail, start.pending)
    rows = None
    for tokens, after in stream(
        model,
        params,
        start,
        max_tokens=max_tokens,
        samples=samples,
        sampling=sampling,
        seed=seed,
        ends=ends,
    ):
        rows = after
        for row in list(open_rows):
            if tokens[row] in ends:
                open_rows.discard(row)
            else:
                written[row].append(int(tokens[row]))
        if 0 in open_rows:
            piece = text.push(int(tokens[0]))
            if on_text is not None:
                on_text(piece)
        if not open_rows:
            break
    if on_state is not None:
        draws = start.draws + len(written[0]) - len(waiting)
        on_state(start if rows is None else _state_of(rows, draws, text))
        del written[0][len(written[0]) - text.pending :]
    elif on_text is not None and (rest := text.finish()):
        on_text(rest)
    prefix = tokenizer.decode(known)
    return [tokenizer.decode([*known, *row])[len(prefix) :] for row in written]


def _state_of(rows: Rows, draws: int, text: TextStream) -> TextState:
    """The one row as a text that can be continued, on the host."""
    return TextState(
        memory=jax.tree.map(np.array, rows.memory),
        logits=np.array(rows.logits),
        seen=np.array(rows.seen),
        draws=draws,
        tail=tuple(text.tail),
        pending=text.pending,
    )
