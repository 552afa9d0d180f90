"""The shapes of a suffix: which letters it has after which end of a word."""

import functools
from typing import NamedTuple

from mmrec_jax.turkish.consonants import VOICELESS
from mmrec_jax.turkish.suffixes import Suffix, inventory
from mmrec_jax.turkish.vowels import FRONT, ROUNDED, VOWELS, fill

_VOWELS = frozenset(VOWELS)
_FOLDED = str.maketrans("aeıiuü", "AAHHHH")


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


class Template(NamedTuple):
    """A suffix with all but its harmony decided: `DA` is `dA` or `tA`.

    `last` is the kind of end that it makes, as in `End`.
    """

    suffix: Suffix
    letters: str
    last: str


class Shape(NamedTuple):
    """A suffix as it is written after some end, and the end that it makes."""

    template: Template
    end: End


@functools.lru_cache(maxsize=1 << 12)
def end_of(text: str) -> End:
    """The end of `text`, which has a letter, all in lower case."""
    last = "v" if text[-1] in _VOWELS else "t" if text[-1] in VOICELESS else "d"
    return advance(End(False, False, ""), text, last)


def advance(end: End, letters: str, last: str) -> End:
    """The end behind `letters`, which continue a word that ended so."""
    for letter in reversed(letters):
        if letter in _VOWELS:
            return End(letter in FRONT, letter in ROUNDED, last)
    return End(end.front, end.rounded, last)


@functools.cache
def shapes(source: str, end: End) -> dict[str, list[Shape]]:
    """What may follow `end` in the state `source` by vowel harmony, by its letters."""
    found: dict[str, list[Shape]] = {}
    for template in _templates(source, end.last):
        letters = fill(template.letters, front=end.front, rounded=end.rounded)
        after = advance(end, letters, template.last)
        found.setdefault(letters, []).append(Shape(template, after))
    return found


@functools.cache
def lengths(source: str, end: End) -> dict[str, tuple[int, ...]]:
    """How long the keys of `shapes` are that begin with each letter."""
    found: dict[str, set[int]] = {}
    for letters in shapes(source, end):
        found.setdefault(letters[0], set()).add(len(letters))
    return {letter: tuple(sorted(sizes)) for letter, sizes in found.items()}


@functools.cache
def loose_templates(source: str, last: str) -> dict[str, list[Template]]:
    """What may follow an end if vowel harmony is not heeded, by `fold` of its letters."""
    found: dict[str, list[Template]] = {}
    for template in _templates(source, last):
        found.setdefault(fold(template.letters), []).append(template)
    return found


def fold(letters: str) -> str:
    """The letters with a/e as A and ı/i/u/ü as H: equal for all shapes of a suffix."""
    return letters.translate(_FOLDED)


@functools.cache
def _templates(source: str, last: str) -> tuple[Template, ...]:
    return tuple(
        template
        for suffix in inventory()
        if source in suffix.sources
        for template in _of_suffix(suffix, last)
    )


def _of_suffix(suffix: Suffix, last: str) -> list[Template]:
    after_vowel = last == "v"
    if suffix.after and (suffix.after == "v") != after_vowel:
        return []
    if last == "y" and suffix.form != "Hyor":
        return []
    form = suffix.form
    if form[0] in "SNY":
        form = (form[0].lower() if after_vowel else "") + form[1:]
    elif form[0] == "H" and after_vowel:
        form = form[1:]
    vowel_first = form[0] in "AH" or form[0] in _VOWELS
    if (last == "k" and vowel_first) or (last == "g" and not vowel_first):
        return []
    letters, sharp = "", last in ("t", "k")
    for sign in form:
        letter = {"D": "dt", "C": "cç"}[sign][sharp] if sign in "DC" else sign
        sharp = letter in VOICELESS
        letters += letter
    kind = "v" if letters[-1] in "AH" or letters[-1] in _VOWELS else "t" if sharp else "d"
    found = [Template(suffix, letters, kind)]
    if (
        letters.endswith(("Hk", "Ak"))
        and suffix.form != "mAk"
        and suffix.target in ("N", "DK", "VZ")
    ):
        found = [Template(suffix, letters, "k"), Template(suffix, letters[:-1] + "ğ", "g")]
    if letters.endswith("A") and len(letters) > 1 and suffix.target in ("V", "VM"):
        found.append(Template(suffix, letters[:-1], "y"))
    return found
