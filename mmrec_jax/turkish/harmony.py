"""Whether the suffixes of a word agree with its vowels.

Lewis, Turkish Grammar (2nd ed., 2000), I 24-33. Only suffixes are judged, not roots: `kitap` and
`otobüs` break harmony and are right. A compound (`cumhurbaşkanı`) is judged by its last vowel.
"""

import dataclasses
from collections.abc import Iterable

from mmrec_jax.turkish.letters import FRONT, ROUNDED, VOWELS, last_vowel, lower, resolve, words
from mmrec_jax.turkish.roots import EITHER_SUFFIXES, FRONT_SUFFIXES
from mmrec_jax.turkish.segmenter import treebank_segmenter


@dataclasses.dataclass(frozen=True)
class SuffixVowel:
    """A vowel of a suffix."""

    index: int  # its index in the word
    vowel: str  # in lower case
    # "A" two-fold (e/a), "H" four-fold (ı/i/u/ü), None in an invariant suffix (-ki, -yor, -ken,
    # -gil, -leyin's i ...)
    rule: str | None
    expected: str  # the vowel that harmony wants; `vowel` if there is no rule

    @property
    def holds(self) -> bool:
        """Whether the vowel is the expected one."""
        return self.vowel == self.expected


def harmony(word: str) -> tuple[SuffixVowel, ...]:
    """The suffix vowels of a word, each with its rule and the vowel it should be.

    `harmony("evlar")` has one vowel, `a` with the rule "A", for which "e" is expected.
    `harmony("geliyorken")` has three: `i` (rule "H", holds), and `o` and `e` without a rule.
    A word whose suffixes are not recognised has none.

    Raises:
      UserError: the package `turkish-treebanks`, which the roots come from, is not installed.
    """
    segmenter = treebank_segmenter()
    found = segmenter.segment(word, loose=True)
    letters = lower(word)
    # A noun may have lost its vowel (kabir, kabr-i): judged by its lemma. A verb by its letters
    # (söyle-, söyl-üyor).
    written = letters[: found.end]
    before = last_vowel(found.lemma if found.root_class == "N" else written)
    before = before or last_vowel(found.lemma)
    front = before in FRONT or found.lemma in FRONT_SUFFIXES
    # How a foreign name is pronounced is not known: its first suffix vowel decides. Likewise for
    # futbol-u, futbol-ü.
    name = bool(found.suffixes) and found.suffixes[0].start > found.end
    undecided = found.lemma in EITHER_SUFFIXES or (name and not segmenter.lexicon.known(written))
    judged = []
    for morph in found.suffixes:
        for index in range(morph.start, morph.end):
            vowel = letters[index]
            if vowel not in VOWELS:
                continue
            sign = morph.template[index - morph.start]
            rule = sign if sign in ("A", "H") else None
            expected = vowel
            if rule and before:
                expected = resolve(rule, front=front, rounded=before in ROUNDED)
            if undecided:
                expected, undecided = vowel, False
            judged.append(SuffixVowel(index, vowel, rule, expected))
            before, front = vowel, vowel in FRONT
    return tuple(judged)


def vowel_harmony_score(texts: Iterable[str]) -> float:
    """The share of suffix vowels with a rule that keep it, in [0, 1]; 1 if there are none.

    `vowel_harmony_score(["evlarde kaldık"])`: `a` of `-lar` breaks the rule, `e` of `-de` too (it
    follows an a), `ı` of `-dık` keeps it: 1/3. Raises as `harmony`.
    """
    holds = [
        vowel.holds
        for text in texts
        for word in words(text)
        for vowel in harmony(word)
        if vowel.rule
    ]
    return sum(holds) / len(holds) if holds else 1.0
