"""Tokens of texts of any length, in an amount of memory that the length of a piece bounds."""

import re

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.tokenizer import Tokenizer

_PIECE_CHARACTERS = 2**18
# In order of preference: before a line that begins with something, before a word, anywhere.
_BORDERS = (re.compile(r"\n(?=\S)"), re.compile(r"\S(?=\s)"))


def encode_long(tokenizer: Tokenizer, text: str) -> NDArray[np.int32]:
    """`tokenizer.encode(text)`, a piece of at most 262,144 characters at a time.

    A tokenizer needs many times the memory of the text that it is given at once. Longer texts are
    cut at the last line end before a line that is not indented, where no token of the tokenizers
    trained here, or of those that read words and line ends apart, goes across; without one, at the
    last word end; without one, at the length itself.

    Raises:
      UserError: as `Tokenizer.encode`.
    """
    if len(text) <= _PIECE_CHARACTERS:
        return tokenizer.encode(text)
    pieces, start = [], 0
    while start < len(text):
        end = min(start + _PIECE_CHARACTERS, len(text))
        if end < len(text):
            end = _last_border(text, start, end)
        pieces.append(tokenizer.encode(text[start:end]))
        start = end
    return np.concatenate(pieces)


def _last_border(text: str, start: int, end: int) -> int:
    for border in _BORDERS:
        # Backwards in growing steps: most often the border is near.
        reach = 1024
        while reach < 2 * (end - start):
            first = max(start, end - reach)
            found = [match.end() for match in border.finditer(text, first, end)]
            if found and found[-1] > start:
                return found[-1]
            reach *= 4
    return end
