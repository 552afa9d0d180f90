"""Texts of any length in parts, and their tokens in an amount of memory that a part bounds."""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.tokenizers.tokenizer import Tokenizer

# Bytes of a part. While it encodes a text a tokenizer may take 200 bytes for a character of it.
_PART = 1 << 18
_TO_LAST_WORD_END = re.compile(rb".*\S(?=\s)", re.DOTALL)


def cut_utf8(utf8: bytes, size: int) -> Iterator[bytes]:
    """Parts of at most `size` bytes that are together the text, each whole characters.

    A part ends behind a word where it has one that white space follows, so that most tokenizers
    give the parts the tokens of the whole.
    """
    begin = 0
    while len(utf8) - begin > size:
        end = begin + size
        if word_end := _TO_LAST_WORD_END.match(utf8, begin, end + 1):
            end = word_end.end()
        while utf8[end] & 0xC0 == 0x80:  # not inside a character
            end -= 1
        yield utf8[begin:end]
        begin = end
    yield utf8[begin:]


def encode_long(tokenizer: Tokenizer, utf8: bytes) -> NDArray[np.int32]:
    """`tokenizer.encode_utf8(utf8)`, of a text (in NFC) of more than 256 KiB part by part.

    Raises:
      UserError: as `Tokenizer.encode_utf8`.
    """
    first, *others = cut_utf8(utf8, _PART)
    if not others:
        return tokenizer.encode_utf8(first)
    tokens = [tokenizer.encode(part.decode(), continues=True) for part in others]
    return np.concatenate([tokenizer.encode_utf8(first), *tokens])
