"""What the `vowel_harmony` objective must know of each piece of a vocabulary.

Vowels have classes, as numbers: 0 none or not judged, 1 .. 8 as in `VOWEL_CLASSES`. The first six
are judged where a piece begins with them: a and e by the two-fold rule, ı, i, u and ü by the
four-fold one; o and ö occur in no suffix but -yor. All eight, and â, î, û, say what may follow.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.turkish.casing import lower
from mmrec_jax.turkish.piece_text import piece_texts
from mmrec_jax.turkish.vowels import VOWELS, follows
from mmrec_jax.turkish.words import APOSTROPHES

VOWEL_CLASSES = "aeıiuüoö"
_JUDGED = 6
# What a vowel with a circumflex asks of the next one: what its plain pair does.
_PLAIN = {"â": "a", "î": "i", "û": "u"}


@dataclasses.dataclass(frozen=True, eq=False)
class VowelTable:
    """The pieces of a vocabulary of V ids.

    Attributes:
      continues: bool [V], whether the piece begins with a letter or an apostrophe, and so continues
        a word that stands before it.
      first: int32 [V], class 1 .. 6 of the first vowel with which the piece continues the word;
        0: the piece begins a word, has no such vowel, or one that is not judged (o, ö, â, part of
        a character).
      sets: bool [V], whether the piece decides what the last vowel of the current word is; False:
        it has no vowel and the word goes on.
      last: int32 [V], that class, 0 .. 8; 0: a word has ended or its vowel is not known. Read only
        where `sets`.
    """

    continues: NDArray[np.bool_]
    first: NDArray[np.int32]
    sets: NDArray[np.bool_]
    last: NDArray[np.int32]


def vowel_table(tokenizer: Tokenizer) -> VowelTable:
    """The table of a tokenizer's pieces."""
    rows = [_row(text) for text in piece_texts(tokenizer)]
    continues, first, sets, last = zip(*rows, strict=True)
    return VowelTable(
        continues=np.array(continues, bool),
        first=np.array(first, np.int32),
        sets=np.array(sets, bool),
        last=np.array(last, np.int32),
    )


def broken_classes() -> NDArray[np.bool_]:
    """[9, 7]: whether a suffix vowel of class j (0 .. 6) breaks harmony after one of class i."""
    table = np.zeros((len(VOWEL_CLASSES) + 1, _JUDGED + 1), bool)
    for i, before in enumerate(VOWEL_CLASSES, 1):
        for j, vowel in enumerate(VOWEL_CLASSES[:_JUDGED], 1):
            table[i, j] = not follows(vowel, before)
    return table


def _row(text: str | None) -> tuple[bool, int, bool, int]:
    """(continues, first, sets, last) of one piece."""
    if text is None:  # part of a letter, of which nothing is known but that the word may go on
        return True, 0, True, 0
    letters = lower(text)
    begin = next((i for i, x in enumerate(letters) if not _in_word(x)), len(letters))
    end = len(letters) - next(
        (i for i, x in enumerate(reversed(letters)) if not _in_word(x)), len(letters)
    )
    first = next((x for x in letters[:begin] if x in VOWELS), "")
    last = next((x for x in reversed(letters[end:]) if x in VOWELS), "")
    broke = begin < len(letters) or not letters
    number = VOWEL_CLASSES.find(first) + 1 if first else 0
    return (
        begin > 0,
        number if number <= _JUDGED else 0,
        bool(last) or broke,
        VOWEL_CLASSES.find(_PLAIN.get(last, last)) + 1 if last else 0,
    )


def _in_word(letter: str) -> bool:
    return letter.isalpha() or letter in APOSTROPHES
