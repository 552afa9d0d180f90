"""The set of a text's word shingles, as 64-bit hashes.

A word is a run of letters and digits, lower-cased; a shingle is five words in a row, and a text of
fewer is one shingle. A text of more than 262,144 characters is taken in pieces of so many, across
whose borders no shingle reaches.
"""

import functools
import sys

import numpy as np
from numpy.typing import NDArray

SHINGLE_WORDS = 5

_PIECE = 1 << 18  # characters
_BASE = np.uint64(0x5851F42D4C957F2D)


def shingles(text: str) -> NDArray[np.uint64]:
    """The hashes of the distinct shingles of a text, sorted; none of a text without words."""
    text = text.lower()
    pieces = [_shingles(text[start : start + _PIECE]) for start in range(0, len(text), _PIECE)]
    return np.unique(np.concatenate(pieces)) if pieces else np.zeros(0, np.uint64)


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A permutation of the 64-bit numbers in which every bit hangs on all (splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _shingles(text: str) -> NDArray[np.uint64]:
    words = _word_hashes(text)
    length = min(SHINGLE_WORDS, len(words))
    count = len(words) - length + 1 if length else 0
    total = np.zeros(count, np.uint64)
    for place in range(length):
        total = total * _BASE + words[place : place + count]
    return mix(total)


def _word_hashes(text: str) -> NDArray[np.uint64]:
    """The hash of each word, in their order: its code points as a polynomial modulo 2^64."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    inside = _word_characters()[codes]
    borders = np.diff(inside.view(np.int8), prepend=np.int8(0), append=np.int8(0))
    lengths = np.flatnonzero(borders == -1) - np.flatnonzero(borders == 1)
    if not len(lengths):
        return np.zeros(0, np.uint64)
    starts = np.cumsum(lengths) - lengths
    powers = np.cumprod(np.full(int(lengths.max()), _BASE))
    places = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    return mix(np.add.reduceat(codes[inside] * powers[places], starts))


@functools.cache
def _word_characters() -> NDArray[np.bool_]:
    """Which code points are letters or digits."""
    return np.fromiter((chr(c).isalnum() for c in range(sys.maxunicode + 1)), np.bool_)
