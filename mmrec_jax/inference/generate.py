"""Text from a trained model: read the prompt in chunks, then one token at a time on the state.

A recurrent state has a fixed size, so the ten-thousandth token costs what the tenth did. A model
without a state reads the whole text again for each token.
"""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from mmrec_jax.inference.decode import Rows, begin_rows, step
from mmrec_jax.inference.prefill import CONTEXT, TextState, prefill
from mmrec_jax.inference.rereading import colocate, with_room, with_state
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.tokenizers.tokenizer import Tokenizer


def stream(
    model: LanguageModel,
    params: Params,
    state: TextState,
    *,
    max_tokens: int,
    samples: int = 1,
    sampling: Sampling | None = None,
    seed: int = 0,
    ends: Sequence[int] = (),
    ids: int | None = None,
) -> Iterator[tuple[np.ndarray, Rows]]:
    """Yields the next token of every sample, `[samples]` int32, `max_tokens` times.

    With it come the rows after that token, on the device and valid until the next one is asked
    for. A row that drew one of `ends` yields the first of them from then on, and stays as it was
    before. `state`, the document that each sample continues, is left as it is. Tokens from `ids` on
    are padding of the vocabulary and never drawn.
    """
    model = with_state(model)
    sampling = sampling or Sampling()
    rows = begin_rows(model, state, range(samples), sampling=sampling, seed=seed, ends=ends)
    rows = colocate(params, rows)
    most = np.int32(state.logits.shape[1] if ids is None else ids)
    for _ in range(max_tokens):
        drawn, rows = step(model, params, rows, most)
        yield np.asarray(drawn.tokens), rows


def generate(
    model: LanguageModel,
    params: Params,
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
      stops: ids; None: those that end a document (`Tokenizer.ends`).
      on_text: called with what is added to the first continuation as soon as it is decoded.
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
    if not isinstance(prompt, str):
        ids = prompt
    elif state is None:
        ids = document_ids(tokenizer, prompt)
    else:
        ids = tokenizer.encode(prompt, continues=True)
    ends = tuple(stops or tokenizer.ends) if stop_at_end else ()
    start = prefill(model, params, ids, state) if state is None or len(ids) else state
    texts = [TextStream(tokenizer, start.tail, start.pending) for _ in range(samples)]
    parts: list[list[str]] = [[] for _ in range(samples)]
    open_rows = set(range(samples))
    drawn, rows = 0, None
    for tokens, after in stream(
        model,
        params,
        start,
        max_tokens=max_tokens,
        samples=samples,
        sampling=sampling,
        seed=seed,
        ends=ends,
        ids=tokenizer.vocab_size,
    ):
        rows = after
        open_rows -= {row for row in open_rows if tokens[row] in ends}
        for row in sorted(open_rows):
            added = texts[row].push(int(tokens[row]))
            parts[row].append(added)
            if row == 0 and on_text is not None:
                on_text(added)
        if not open_rows:
            break
        drawn += 1
    if on_state is not None:
        on_state(start if rows is None else state_after(start, drawn, rows, texts[0]))
    else:
        for row, text in enumerate(texts):
            parts[row].append(text.finish())
        if on_text is not None and parts[0][-1]:
            on_text(parts[0][-1])
    return ["".join(part) for part in parts]


def document_ids(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The ids [n], n > 0, of a document that begins with `text`; errors as `Tokenizer.encode`."""
    ids = tokenizer.encode(text)
    begin = [tokenizer.bos_id] if tokenizer.begins_prompts or not len(ids) else []
    return np.concatenate([begin, ids]).astype(np.int32)


def state_after(start: TextState, drawn: int, row: Rows, text: "TextStream") -> TextState:
    """One row that began as `start`, as a text that can be continued, on the host."""
    return TextState(
        state=jax.tree.map(np.array, with_room(row.state, 0)),
        logits=np.array(row.logits),
        seen=np.array(row.seen),
        length=start.length + drawn,
        draws=start.draws + drawn,
        tail=tuple(text.tail),
        pending=text.pending,
    )


class TextStream:
    """Decodes one token at a time at a cost that does not grow with the text."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], pending: int = 0) -> None:
        """Starts after `prompt`, whose text is not repeated, but for its `pending` last ids."""
        self._tokenizer = tokenizer
        self._ids = list(prompt[-CONTEXT - pending :])
        self._anchor, self._read = 0, len(self._ids) - pending

    @property
    def pending(self) -> int:
        """How many of the last ids are still without text: bytes of an incomplete character."""
        return len(self._ids) - self._read

    @property
    def tail(self) -> list[int]:
        """The last ids: a stream made from these, with the same `pending`, goes on like this."""
        return self._ids[self._anchor :]

    def push(self, token: int) -> str:
        """Text completed by `token`; empty while a character waits for its last byte."""
        self._ids.append(token)
        before = self._tokenizer.decode(self._ids[self._anchor : self._read])
        after = self._tokenizer.decode(self._ids[self._anchor :])
        if after.endswith("\N{REPLACEMENT CHARACTER}") or len(after) <= len(before):
            return ""
        # Some tokenizers drop the spaces that a text begins with.
        spaces = not self._tokenizer.decode(self._ids[self._read :]).strip(" ")
        if not spaces or self._read - self._anchor > CONTEXT:
            self._anchor = self._read
        self._read = len(self._ids)
        return after[len(before) :]

    def finish(self) -> str:
        """The rest of the text: replacement characters for a character that was cut off."""
        before = self._tokenizer.decode(self._ids[self._anchor : self._read])
        after = self._tokenizer.decode(self._ids[self._anchor :])
        self._anchor, self._read = self._read, len(self._ids)
        return after[len(before) :]
