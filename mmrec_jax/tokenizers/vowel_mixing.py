"""Pieces of words whose vowels break palatal harmony."""

from collections.abc import Mapping

from mmrec_jax.tokenizers.encoder import Encoder
from mmrec_jax.turkish.casing import lower
from mmrec_jax.turkish.vowels import FRONT, VOWELS
from mmrec_jax.turkish.words import LETTERS


def mixed_share(encoder: Encoder, counts: Mapping[int, int]) -> float | None:
    """The share of pieces with front and back vowels in one word, of those with two vowels or more.

    `counts`: how often each id occurs. None where no piece has two vowels in a word.
    """
    mixed = several = 0
    for index, count in counts.items():
        vowels = [_vowels(word) for word in LETTERS.findall(encoder.text_of(index))]
        if any(len(found) > 1 for found in vowels):
            several += count
            mixed += count * any(len({each in FRONT for each in found}) == 2 for found in vowels)
    return mixed / several if several else None


def _vowels(word: str) -> list[str]:
    return [each for each in lower(word) if each in VOWELS]
