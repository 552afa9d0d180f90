"""What the `vowel_harmony` objective must know of each token of a vocabulary.

Vowels have classes: 0 none or not judged, 1 .. 8 as in `VOWEL_CLASSES`. The first six are judged
when a token begins with them: a and e by the two-fold rule, ı, i, u and ü by the four-fold one; o
and ö occur in no suffix but -yor. All eight, and â, î, û, decide which vowel may follow.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.turkish.letters import APOSTROPHES, VOWELS, follow, lower

VOWEL_CLASSES = "aeıiuüoö"
_JUDGED = 6
# A vowel with a circumflex has the class of its plain counterpart.
_PLAIN = {"â": "a", "î": "i", "û": "u"}
_BROKEN = "\ufffd"


@dataclasses.dataclass(frozen=True, eq=False)
class VowelTable:
    """The tokens of a vocabulary of V ids."""

    # bool [V], whether the token begins with a letter or an apostrophe, and so continues a word
    # that stands before it
    continues: NDArray[np.bool_]
    # int32 [V], class 1 .. 6 of the first vowel with which the token continues the word; 0: the
    # token begins a word, has no such vowel, or one that is not judged (o, ö, â, part of a
    # character)
    first: NDArray[np.int32]
    # bool [V], whether the token decides what the last vowel of the current word is; False: it has
    # no vowel and the word goes on
    sets: NDArray[np.bool_]
    # int32 [V], that class, 0 .. 8; 0: a word has ended or its vowel is not known. Only meaningful
    # where `sets`
    last: NDArray[np.int32]


def vowel_table(tokenizer: Tokenizer) -> VowelTable:
    """The table of a tokenizer's tokens."""
    rows = [_row(text) for text in piece_texts(tokenizer)]
    continues, first, sets, last = (np.array(column) for column in zip(*rows, strict=True))
    return VowelTable(continues, first.astype(np.int32), sets, last.astype(np.int32))


def broken_classes() -> NDArray[np.bool_]:
    """[9, 7]: whether a suffix vowel of class j (0 .. 6) breaks harmony after one of class i."""
    table = np.zeros((len(VOWEL_CLASSES) + 1, _JUDGED + 1), bool)
    for i, before in enumerate(VOWEL_CLASSES, 1):
        for j, vowel in enumerate(VOWEL_CLASSES[:_JUDGED], 1):
            table[i, j] = vowel != follow(before, "A" if vowel in "ae" else "H")
    return table


def _row(text: str | None) -> tuple[bool, int, bool, int]:
    """(continues, first, sets, last) of one token."""
    if text is None:  # part of a character, which may be any vowel
        return True, 0, True, 0
    letters = lower(text)
    outside = [i for i, x in enumerate(letters) if not (x.isalpha() or x in APOSTROPHES)]
    begin, end = (outside[0], outside[-1] + 1) if outside else (len(letters), 0)
    first = next((x for x in letters[:begin] if x in VOWELS), "")
    last = next((x for x in reversed(letters[end:]) if x in VOWELS), "")
    number = VOWEL_CLASSES.find(first) + 1 if first else 0
    return (
        begin > 0,
        number if number <= _JUDGED else 0,
        bool(last or outside or not letters),
        VOWEL_CLASSES.find(_PLAIN.get(last, last)) + 1 if last else 0,
    )


def piece_texts(tokenizer: Tokenizer) -> list[str | None]:
    """The text of each id as it stands after a letter, spaces included.

    An id alone may be decoded differently (some tokenizers drop a space before the first word of a
    text), so each is decoded after the id of "a".

    Returns:
      One entry per id: "" for special ids, None for ids that are parts of a character, or that the
      tokenizer does not decode alone.
    """
    try:
        anchor = [int(tokenizer.encode("a")[-1])]
    except UserError:  # a vocabulary of characters without an a
        anchor = []
    before = tokenizer.decode(anchor)
    texts: list[str | None] = []
    for index in range(tokenizer.vocab_size):
        if index in (tokenizer.bos_id, tokenizer.eos_id):
            texts.append("")
            continue
        both = tokenizer.decode([*anchor, index])
        whole = both.startswith(before) and _BROKEN not in both
        texts.append(both[len(before) :] if whole else None)
    return texts
