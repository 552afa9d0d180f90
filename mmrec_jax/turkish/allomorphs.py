"""The shapes of a suffix: which letters it has after which end of a word."""

import functools
from typing import NamedTuple

from mmrec_jax.turkish.suffixes import Suffix, inventory
from mmrec_jax.turkish.vowels import FRONT, ROUNDED, VOWELS, resolve

_VOICELESS = frozenset("pçtkfhsş")
_VOWELS = frozenset(VOWELS)


class End(NamedTuple):
    """What a suffix must know of the letters before it.

    Attributes:
      front: whether the last vowel is a front one.
      rounded: whether it is rounded.
      last: "v" vowel, "d" voiced consonant, "t" voiceless consonant; "k" a k that would be voiced
        before a vowel, so that none follows; "g" a consonant changed so that a vowel must follow;
        "y" an end that lost its vowel to -iyor, which must follow.
    """

    front: bool
    rounded: bool
    last: str


class Shape(NamedTuple):
    """A suffix as it is written after some end, and the end that it makes."""

    suffix: Suffix
    end: End


@functools.cache
def end_of(text: str, before: End | None = None) -> End:
    """The end of `text` (lower case, at least one letter), which continues a word with `before`."""
    front, rounded = (before.front, before.rounded) if before else (False, False)
    for letter in reversed(text):
        if letter in _VOWELS:
            front, rounded = letter in FRONT, letter in ROUNDED
            break
    last = "v" if text[-1] in _VOWELS else "t" if text[-1] in _VOICELESS else "d"
    return End(front, rounded, last)


@functools.cache
def shapes(source: str, end: End) -> dict[str, list[Shape]]:
    """What may follow `end` in the state `source`: letters to the suffixes written so."""
    found: dict[str, list[Shape]] = {}
    for suffix in inventory():
        if source in suffix.sources:
            for letters, after in _spellings(suffix, end):
                found.setdefault(letters, []).append(Shape(suffix, after))
    return found


def _spellings(suffix: Suffix, end: End) -> list[tuple[str, End]]:
    after_vowel = end.last == "v"
    if suffix.after and (suffix.after == "v") != after_vowel:
        return []
    if end.last == "y":
        return _written(suffix, end, suffix.form) if suffix.form == "Hyor" else []
    if suffix.form == "Hyor" and after_vowel and end.last == "v":
        # After a wide vowel the vowel is lost ("y"), after a narrow one the suffix's is.
        return _written(suffix, end, "yor")
    form = suffix.form
    if form[0] in "SNY":
        form = (form[0].lower() if after_vowel else "") + form[1:]
    elif form[0] == "H" and after_vowel:
        form = form[1:]
    vowel_first = form[0] in "AH" or form[0] in _VOWELS
    if (end.last == "k" and vowel_first) or (end.last == "g" and not vowel_first):
        return []
    return _written(suffix, end, form)


def _written(suffix: Suffix, end: End, form: str) -> list[tuple[str, End]]:
    letters = ""
    front, rounded = end.front, end.rounded
    sharp = end.last in ("t", "k")
    for sign in form:
        letter = sign
        if sign in ("A", "H"):
            letter = resolve(sign, front=front, rounded=rounded)
        elif sign in ("D", "C"):
            letter = {"D": "dt", "C": "cç"}[sign][sharp]
        if letter in _VOWELS:
            front, rounded = letter in FRONT, letter in ROUNDED
        sharp = letter in _VOICELESS
        letters += letter
    after = end_of(letters, end)
    spelled = [(letters, after)]
    if len(form) > 2 and form.endswith("k") and form not in ("CAk", "mAk"):
        spelled = [(letters, after._replace(last="k")), (letters[:-1] + "ğ", after._replace(last="g"))]
    if suffix.target in ("V", "VM") and form.endswith("A"):
        before = end_of(letters[:-1], end) if len(letters) > 1 else end
        kept = before._replace(last="y")
        spelled.append((letters[:-1], kept))
    if form == "t" or (suffix.label == "Cau" and form == "Ht"):
        spelled.append((letters[:-1] + "d", after._replace(last="g")))
    return [pair for pair in spelled if pair[0]]
