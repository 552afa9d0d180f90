"""Whether the suffixes of a word agree with its vowels.

Lewis, Turkish Grammar (2nd ed., 2000), I 24-33. What is judged are suffixes, not roots: `kitap` and
`otobüs` are as they are. A compound (`cumhurbaşkanı`) is judged by its last vowel, as any word.
"""

import dataclasses

from mmrec_jax.turkish.casing import lower
from mmrec_jax.turkish.lexicon import treebank_lexicon
from mmrec_jax.turkish.segmenter import treebank_segmenter
from mmrec_jax.turkish.stem_exceptions import EITHER_SUFFIXES, FRONT_SUFFIXES
from mmrec_jax.turkish.vowels import FRONT, ROUNDED, VOWELS, last_vowel, resolve


@dataclasses.dataclass(frozen=True)
class SuffixVowel:
    """A vowel of a suffix.

    Attributes:
      place: its index in the word.
      vowel: it, in lower case.
      rule: "A" two-fold (e/a), "H" four-fold (ı/i/u/ü), None: of an invariant suffix (-ki, -yor,
        -ken, -gil, -leyin's i ...), which no rule asks anything of.
      expected: what vowel harmony wants here; `vowel` where there is no rule.
    """

    place: int
    vowel: str
    rule: str | None
    expected: str

    @property
    def holds(self) -> bool:
        """Whether the vowel is the expected one."""
        return self.vowel == self.expected


def harmony(word: str) -> tuple[SuffixVowel, ...]:
    """The suffix vowels of a word, each with its rule and what it should be.

    `harmony("evlar")` has one vowel, `a` with the rule "A", for which "e" is expected.
    `harmony("geliyorken")` has three: `i` (rule "H", holds), and `o` and `e` without a rule.

    A word whose suffixes are not recognised has none.

    Raises:
      UserError: the package `turkish-treebanks`, from which roots are known, is not installed.
    """
    lexicon = treebank_lexicon()
    found = treebank_segmenter().segment(word, loose=True)
    letters = lower(word)
    # A noun's form may have lost its vowel (kabir, kabr-i), a verb's rules over its dictionary form
    # (söyle-, söyl-üyor).
    written = letters[: found.end]
    before = last_vowel(found.lemma if found.root_class == "N" else written)
    before = before or last_vowel(found.lemma)
    front = before in FRONT
    if found.lemma in FRONT_SUFFIXES:
        front = True
    judged = []
    # How a foreign name is spoken is not known: its first suffix vowel says. So for futbol-u, -ü.
    name = bool(found.suffixes) and found.suffixes[0].start > found.end
    open_ended = found.lemma in EITHER_SUFFIXES or (name and not lexicon.known(written))
    for morph in found.suffixes:
        for place in range(morph.start, morph.end):
            vowel = letters[place]
            if vowel not in VOWELS:
                continue
            sign = morph.template[place - morph.start]
            rule = sign if sign in ("A", "H") else None
            expected = vowel
            if rule and before:
                expected = resolve(rule, front=front, rounded=before in ROUNDED)
            if open_ended:
                expected, open_ended = vowel, False
            judged.append(SuffixVowel(place, vowel, rule, expected))
            before, front = vowel, vowel in FRONT
    return tuple(judged)
