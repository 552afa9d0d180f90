"""Whether the suffixes of a word agree with its vowels.

Lewis, Turkish Grammar (2nd ed., 2000), I 24-33. Only suffixes are judged, not roots: `kitap` and
`otobüs` break harmony and are right. A compound (`cumhurbaşkanı`) is judged by its last vowel.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from mmrec_jax.turkish.letters import FOREIGN_LETTER, NUMBER, VOWELS, WORD, fill, lower, normalise
from mmrec_jax.turkish.readings import readings
from mmrec_jax.turkish.segmenter import treebank_segmenter
from mmrec_jax.turkish.suffixes import End, end_of

_TOKEN = re.compile(f"{WORD.pattern}|{NUMBER.pattern}")
# -mi with its persons and copulas, all of which follow harmony.
_QUESTION = re.compile(
    "m[ıiuü](?:y[ıiuü][mz]|s[ıiuü]n(?:[ıiuü]z)?|d[ıiuü]r(?:l[ae]r)?"
    "|(?:yd[ıiuü]|ys[ae])(?:[mnk]|n[ıiuü]z|l[ae]r)?|ym[ıiuü]ş(?:[ıiuü][mz]|s[ıiuü]n(?:[ıiuü]z)?|l[ae]r)?)?"
)
_DAYS = ("dün", "gün", "öbür")  # -ki is -kü after them alone: dün-kü, but akşam-ki, yol-da-ki
# Suffixes that are always round in Ottoman spelling: gelüp, devletlü, gelmişdür.
_ONCE_ROUND = frozenset({"After", "With", "GenCop"})
_FOREIGN_SHARE = 5


@dataclasses.dataclass(frozen=True)
class SuffixVowel:
    """A vowel of a suffix."""

    index: int  # its index in the word
    vowel: str  # in lower case
    # "A" two-fold (e/a), "H" four-fold (ı/i/u/ü), None in an invariant suffix (-ki, -yor, -ken,
    # -gil, -leyin's i ...)
    rule: str | None
    expected: str  # the vowel that is right: that of the rule, or of the invariant suffix

    @property
    def holds(self) -> bool:
        """Whether the vowel is the expected one."""
        return self.vowel == self.expected


def harmony(word: str) -> tuple[SuffixVowel, ...]:
    """The suffix vowels of a word, each with its rule and the vowel it should be.

    `harmony("evlar")` has one vowel, `a` with the rule "A", for which "e" is expected.
    `harmony("geliyorken")` has three: `i` (rule "H", holds), and `o` and `e` of invariant suffixes.
    A word whose suffixes are not recognised has none. Numbers, abbreviations and names are judged
    as they are read aloud (`readings.py`); where that is not known, the first vowel decides. Words
    with letters that Turkish has not (ə, ñ, q, ā ...) are not judged: they are Azerbaijani,
    transliterated Ottoman or foreign. Indices are those of `normalise(word)`.

    Raises:
      UserError: the package `turkish-treebanks`, which the roots come from, is not installed.
    """
    found = treebank_segmenter().segment(word, loose=True)
    letters = lower(found.word)
    # Of a name the suffixes alone are judged.
    if FOREIGN_LETTER.search(letters) and found.boundaries()[:1] in ((), (found.end,)):
        return ()
    judged, ends = [], found.ends
    # Older spelling leaves ile as it is: babasiyle, vasıtasiyle.
    ile = len(letters) - len("iyle") if letters.endswith("iyle") else len(letters)
    for morph in found.suffixes:
        for index in range(morph.start, morph.end):
            vowel = letters[index]
            if vowel not in VOWELS:
                continue
            sign = morph.template[index - morph.start]
            rule = sign if sign in ("A", "H") else None
            if index >= ile:
                wanted = [vowel]
            elif morph.label == "Rel":
                wanted = ["ü" if letters[: morph.start].endswith(_DAYS) else "i"]
            elif rule is None:
                wanted = [sign]
            else:
                wanted = _wanted(rule, ends)
                if rule == "H" and morph.label in _ONCE_ROUND:
                    wanted += _wanted(rule, [x._replace(rounded=True) for x in ends])
            judged.append(_judged(index, vowel, rule, wanted))
            ends = (end_of(vowel),)
    return tuple(judged)


def text_harmony(text: str) -> list[SuffixVowel]:
    """The suffix vowels of a text's words, those of question particles among them.

    The particle is judged by the word or number before it: `geldi mi`, `okul mu`, `3 mü`. A text of
    which more than a fifth of the words have letters that Turkish has not is in another language,
    and has none. Indices are those of `normalise(text)`. Raises as `harmony`.
    """
    text = normalise(text)
    found: list[SuffixVowel] = []
    foreign = total = 0
    before, end = "", 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if any(map(str.isalpha, token)):
            total += 1
            foreign += bool(FOREIGN_LETTER.search(lower(token)))
            adjacent = bool(before) and text[end : match.start()].isspace()
            particle = adjacent and _QUESTION.fullmatch(token)
            vowels = _particle(token, before) if particle else harmony(token)
            found += [dataclasses.replace(x, index=match.start() + x.index) for x in vowels]
        before, end = token, match.end()
    return [] if foreign * _FOREIGN_SHARE > total else found


def _particle(particle: str, before: str) -> Iterator[SuffixVowel]:
    """The vowels of a question particle and its suffixes after a word."""
    segmenter = treebank_segmenter()
    if segmenter.segment(before).suffixes:
        ends: tuple[End, ...] = (end_of(lower(before)),)
    else:
        ends = readings(before, segmenter.lexicon.known)
    for index, vowel in enumerate(particle):
        if vowel in VOWELS:
            rule = "A" if vowel in "ae" else "H"
            yield _judged(index, vowel, rule, _wanted(rule, ends))
            ends = (end_of(vowel),)


def _wanted(rule: str, ends: Iterable[End]) -> list[str]:
    return [fill(rule, front=end.front, rounded=end.rounded) for end in ends]


def _judged(index: int, vowel: str, rule: str | None, wanted: Sequence[str]) -> SuffixVowel:
    """`wanted`: the vowels that are right, the likeliest first; empty: any is."""
    right = vowel in wanted or not wanted
    return SuffixVowel(index, vowel, rule, vowel if right else wanted[0])


def vowel_harmony_score(texts: Iterable[str]) -> float:
    """The share of suffix vowels with a rule that keep it, in [0, 1]; 1 if there are none.

    A vowel of an invariant suffix counts if it is wrong (`haftakı`), as if it had broken a rule.

    `vowel_harmony_score(["evlarde kaldık"])`: `a` of `-lar` breaks the rule, `e` of `-de` too (it
    follows an a), `ı` of `-dık` keeps it: 1/3. Raises as `harmony`.
    """
    vowels = (vowel for text in texts for vowel in text_harmony(text))
    holds = [vowel.holds for vowel in vowels if vowel.rule or not vowel.holds]
    return sum(holds) / len(holds) if holds else 1.0
