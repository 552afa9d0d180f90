"""Tokens of texts of any length, in an amount of memory that the length of a piece bounds."""

import re

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.tokenizers.tokenizer import Tokenizer

# Characters of a piece: at least this, at most twice. While it encodes a text a tokenizer may take
# 200 bytes for a character of it.
_PIECE = 2**17
_CONTEXT = 256  # characters on either side of a cut that are looked at
_ATTEMPTS = 64
_TO_LAST_WORD_END = re.compile(r".*\S(?=\s)", re.DOTALL)


def encode_long(tokenizer: Tokenizer, utf8: bytes) -> NDArray[np.int32]:
    """`tokenizer.encode_utf8(utf8)`, of a text of more than 262,144 characters piece by piece.

    A piece ends behind a newline where that does not change the tokens around it: where the text on
    both sides has the same tokens as its two halves. Tokenizers that cut text into words before all
    else, and those that give a newline a token of its own, then have the same tokens everywhere.
    Where the second half of a piece has no such place, the piece ends at its last word end; without
    one, after 262,144 characters.

    Args:
      tokenizer: which.
      utf8: the text in UTF-8 and NFC.

    Raises:
      UserError: as `Tokenizer.encode_utf8`.
    """
    if len(utf8) <= 2 * _PIECE:
        return tokenizer.encode_utf8(utf8)
    text = utf8.decode("utf-8")
    parts: list[NDArray[np.int32]] = []
    start = 0
    while len(text) - start > 2 * _PIECE:
        stop = _cut(tokenizer, text, start)
        parts.append(tokenizer.encode(text[start:stop], continues=start > 0))
        start = stop
    parts.append(tokenizer.encode(text[start:], continues=True))
    return np.concatenate(parts)


def _cut(tokenizer: Tokenizer, text: str, start: int) -> int:
    """Where the piece from `start` on ends."""
    place, last = start + _PIECE, start + 2 * _PIECE
    for _ in range(_ATTEMPTS):
        place = text.find("\n", place, last) + 1
        if not place:
            break
        left, right = text[max(start, place - _CONTEXT) : place], text[place : place + _CONTEXT]
        halves = [tokenizer.encode(left), tokenizer.encode(right, continues=True)]
        if np.array_equal(np.concatenate(halves), tokenizer.encode(left + right)):
            return place
    found = _TO_LAST_WORD_END.match(text, start, last)
    return found.end() if found else last
