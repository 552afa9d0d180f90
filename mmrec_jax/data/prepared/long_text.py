"""Tokens of a text of any length in a bounded memory."""

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.tokenizer import Tokenizer

_PIECE = 1 << 18  # characters; the libraries take up to 200 bytes for one while they encode
_CONTEXT = 256  # characters on either side of a cut that are looked at
_ATTEMPTS = 64


def encode_long(text: str, tokenizer: Tokenizer) -> NDArray[np.int32]:
    """`tokenizer.encode(text)`, of a long text piece by piece.

    It is cut behind a newline where that does not change the tokens around the cut: where the text
    on both sides has the same tokens as its two halves. Tokenizers that cut text into words before
    all else, and those that give a newline a token of its own, then have the same tokens
    everywhere. A text without such a place is encoded whole.

    Raises:
      UserError: as `Tokenizer.encode`.
    """
    parts: list[NDArray[np.int32]] = []
    start = 0
    while len(text) - start > 2 * _PIECE:
        stop = _cut(text, start + _PIECE, tokenizer)
        parts.append(tokenizer.encode(text[start:stop]))
        start = stop
    if start < len(text) or not parts:
        parts.append(tokenizer.encode(text[start:]))
    return np.concatenate(parts)


def _cut(text: str, place: int, tokenizer: Tokenizer) -> int:
    """Where to cut behind `place`; the end of the text if nowhere."""
    for _ in range(_ATTEMPTS):
        place = text.find("\n", place) + 1
        if not place:
            break
        left, right = text[max(0, place - _CONTEXT) : place], text[place : place + _CONTEXT]
        halves = [tokenizer.encode(left), tokenizer.encode(right)]
        if np.array_equal(np.concatenate(halves), tokenizer.encode(left + right)):
            return place
    return len(text)
