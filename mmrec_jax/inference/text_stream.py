"""Turns a growing list of tokens into text as soon as the text is certain."""

from collections.abc import Sequence

from mmrec_jax.data.tokenizer import Tokenizer

# Tokens decoded again with each new one: a piece's text may depend on what stands before it
# (sentencepiece drops a leading space, byte tokens form one character).
CONTEXT = 8


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
        self._anchor, self._read = self._read, len(self._ids)
        return after[len(before) :]

    def finish(self) -> str:
        """The rest of the text: replacement characters for a character that was cut off."""
        before = self._tokenizer.decode(self._ids[self._anchor : self._read])
        after = self._tokenizer.decode(self._ids[self._anchor :])
        self._anchor, self._read = self._read, len(self._ids)
        return after[len(before) :]
