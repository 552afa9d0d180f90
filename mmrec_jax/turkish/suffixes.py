"""The suffixes: which may follow which, as the arcs of an automaton, and how each is written.

Lewis, Turkish Grammar (2nd ed., 2000); Oflazer 1994, "Two-level description of Turkish morphology".
The forms are written with the signs of `phonology.py`. The labels of derivations are those of the
Turkish Web Treebank. A word is a root of class N, V or X and a path from the state of that name:

| state | after |
|---|---|
| N | a nominal stem (noun, adjective, number, name, participle) |
| NP | its plural |
| NS, N3 | its possessive of the first and second person, of the third |
| NC, NE | locative or genitive (`-ki` may follow), another case |
| NK | -ki |
| V | a verb stem that may take voice |
| VA | ability |
| VM | negation |
| VT, VZ | a tense with the persons -m, -n, -k; with the persons -im, -sin, -iz |
| VL | the third person plural of a tense |
| CT, CZ | the same of a copula |
| DK | -dik- and -ecek-, which take a possessive |
| E | a final suffix |
| X | a word that is hardly inflected (adverb, conjunction, particle) |
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable
from typing import Literal, NamedTuple

from mmrec_jax.turkish.letters import FRONT, ROUNDED, VOICELESS, VOWELS, fill

Kind = Literal["derivation", "inflection"]
_After = Literal["", "v", "c"]

_VOWELS = frozenset(VOWELS)
_BORROWED = ("Foll", "Doct")  # -ist and -izm are not misspelt as -üst
_POSSESSIVES = frozenset({"P1sg", "P2sg", "P3sg", "P1pl", "P2pl", "P3pl"})
_CASES = frozenset({"Acc", "Dat", "Loc", "Abl", "Gen", "Ins"})


@dataclasses.dataclass(frozen=True)
class Suffix:
    """One arc."""

    sources: tuple[str, ...]  # the states it may follow
    target: str  # the state it leads to
    form: str  # its lexical form, such as `lAr`
    label: str  # its name, unique among the suffixes of one source and form
    kind: Kind  # whether it derives a word or inflects one
    after: _After = ""  # "v" only after a vowel, "c" only after a consonant, "" either


# sources | target | kind | form:label, ...; a form ends in > after a vowel, in < after a consonant.
_TABLE = """
N | N | d | lH:With, sHz:Wout, lHk:Ness, CH:Agt, CA:Ly, sAl:Rtd, CHk:Dim, CAğHz:Dim, HmsH:Sim
N | E | d | leyin:Time
N | N | d | Hmtırak:Sim, ist:Foll, izm:Doct, gil:Fam, vari:Sim, DAş:Rcpl
N | N | i | HncH<:Ord, ncH>:Ord
N | V | d | lA:Make, lAn:Acq, lAş:Bcm, Al<:Bcm, lAt:Cau
N | NP | i | lAr:A3pl
N NP | NS | i | Hm:P1sg, Hn:P2sg, HmHz:P1pl, HnHz:P2pl
N NP | N3 | i | SH:P3sg
N | N3 | i | lArH:P3pl
N NP NS | NC | i | DA:Loc, NHn:Gen
N NP NS | NE | i | YH:Acc, YA:Dat, DAn:Abl, YlA:Ins
DK | NE | i | DA:Loc, DAn:Abl
N3 NK | NC | i | nDA:Loc, nHn:Gen
N3 NK | NE | i | nH:Acc, nA:Dat, nDAn:Abl, ylA:Ins
N3 | E | d | ncA:By
NP NS | E | d | CA:By
NC X | NK | d | ki:Rel, kü:Rel
N NP | NK | d | ki:Rel
NK | NP | i | lAr:A3pl
N NP NS N3 NC NE NK X | CT | i | YDH:PastCop, YsA:CondCop
N NP NS N3 NC NE NK X | CZ | i | YmHş:NarrCop
N NP NS N3 NC NE NK X | CZ | i | DHr:GenCop
N NP NS N3 NC NE NK X | E | d | Yken:While
N NP NS N3 NC NE NK CZ VZ | E | i | YHm:V1sg, sHn:V2sg, YHz:V1pl, sHnHz:V2pl
NC NE CZ CT | E | i | lAr:V3pl
CT | E | i | m:V1sg, n:V2sg, k:V1pl, nHz:V2pl
V | V | d | Hl<:Pass, Hn<:Pass, n>:Pass, DHr<:Cau, t:Cau, Ht<:Cau, Ar<:Cau, Hr<:Cau
V | V | d | Hş<:Rcp, ş>:Rcp, HşlA<:Rcp
V | V | d | AklA<:Iter, HklA<:Iter
V | VA | d | YAbil:Able, YHver:Haste, YAgel:Ever, YAdur:Ever, YAkal:Stay, YAyaz:Almost
V VA | VM | i | mA:Neg
V | VM | d | YAmA:Able
V VA VM | VT | i | DH:Past, sA:Cond
V VA | VZ | i | mHş:Narr, YAcAk:Fut, Hyor:Prog, mAktA:Prog2, mAlH:Neces, YA:Opt
V VA | VZ | i | r>:Aor, Ar<:Aor, Hr<:Aor
VM | VZ | i | mHş:Narr, YAcAk:Fut, Hyor:Prog, mAktA:Prog2, mAlH:Neces, YA:Opt, z:Aor
VM | E | i | m:V1sg, yHz:V1pl
V VA VM | E | i | sHn:Imp3sg, YHn:Imp2pl, YHnHz:Imp2pl, sHnlAr:Imp3pl, YAlHm:Opt1pl, YAyHm:Opt1sg
V VA VM | E | i | sAnA:Imp2sg, sAnHzA:Imp2pl
VT | E | i | m:V1sg, n:V2sg, k:V1pl, nHz:V2pl
VT | CT | i | YDH:PastCop, YsA:CondCop
VT | CZ | i | YmHş:NarrCop
VT VZ | VL | i | lAr:V3pl
VL | E | i | YDH:PastCop, YsA:CondCop, YmHş:NarrCop, DHr:GenCop
VL | E | d | Yken:While
VZ | CT | i | YDH:PastCop, YsA:CondCop
VZ | CZ | i | YmHş:NarrCop, DHr:GenCop
VZ CZ | E | d | Yken:While, CAsHnA:AsIf
V VA VM | N | d | mA:Nonf, mAk:Inf, YHş:Nonf, YAn:PresPart, mHş:PerPart, YHcH:Inh, mAzlHk:NessNeg
V VA VM | DK | d | DHk:PastPart, YAcAk:FutPart
V | N | d | mAcA:Nonf, Hm<:Nonf, Ak<:Res, gAn:Hab, gH:Res, Hk<:Res, k>:Res, mAz:AorPart
V VA | N | d | r>:AorPart, Ar<:AorPart, Hr<:AorPart
VM | N | d | z:AorPart
V VA VM | E | d | YArAk:Ger, YHp:After, YHncA:When, DHkçA:As, YAlH:Since, mAksHzHn:Wout, YA:Dup
VM | E | d | DAn:Ger
DK | NS | i | Hm:P1sg, Hn:P2sg, HmHz:P1pl, HnHz:P2pl
DK | N3 | i | SH:P3sg, lArH:P3pl
DK | NP | i | lAr:A3pl
"""


@functools.cache
def inventory() -> tuple[Suffix, ...]:
    """All suffixes, in the order of the table."""
    found = []
    for line in _TABLE.strip().splitlines():
        sources, target, kind, entries = (part.strip() for part in line.split("|"))
        kind_name: Kind = "derivation" if kind == "d" else "inflection"
        for entry in entries.split(","):
            form, label = entry.strip().split(":")
            after: _After = "c" if form[-1] == "<" else "v" if form[-1] == ">" else ""
            form = form.rstrip("<>")
            found.append(Suffix(tuple(sources.split()), target, form, label, kind_name, after))
    return tuple(found)


# A word may end in any of them.
STATES = tuple(sorted({state for x in inventory() for state in (*x.sources, x.target)}))


class Nominal(NamedTuple):
    """Number ("A3pl" with the plural suffix), possessive and case of a nominal."""

    number: str = "A3sg"
    possessive: str = "Pnon"
    case: str = "Nom"


def nominal_of(suffixes: Iterable[tuple[str, Kind]]) -> Nominal:
    """The inflection after the last derivation of a word, given its suffixes as (label, kind)."""
    found = Nominal()
    for label, kind in suffixes:
        if kind == "derivation":
            found = Nominal()
        elif label == "A3pl":
            found = found._replace(number=label)
        elif label in _POSSESSIVES:
            found = found._replace(possessive=label)
        elif label in _CASES:
            found = found._replace(case=label)
    return found


class End(NamedTuple):
    """What the choice of the next suffix depends on."""

    front: bool  # whether the last vowel is a front one
    rounded: bool  # whether it is rounded
    # "v" vowel, "d" voiced consonant, "t" voiceless consonant; "k" a k that would be voiced before
    # a vowel, so only a consonant may follow; "g" a changed consonant that needs a vowel after it;
    # "y" a stem that lost its vowel to -iyor, which must follow
    last: str


class Template(NamedTuple):
    """A suffix whose consonants are decided and whose vowels are not: `DA` is `dA` or `tA`.

    `last` is the kind of end that it leaves, as in `End`.
    """

    suffix: Suffix
    letters: str
    last: str


@functools.lru_cache(maxsize=1 << 12)
def end_of(text: str) -> End:
    """The end of `text`, which has a letter and is in lower case."""
    last = "v" if text[-1] in _VOWELS else "t" if text[-1] in VOICELESS else "d"
    return advance(End(False, False, ""), text, last)


def advance(end: End, letters: str, last: str) -> End:
    """The end after `letters`, which continue a word that ended in `end`."""
    for letter in reversed(letters):
        if letter in _VOWELS:
            return End(letter in FRONT, letter in ROUNDED, last)
    return End(end.front, end.rounded, last)


class Shape(NamedTuple):
    """How a suffix is written after some end."""

    template: Template
    end: End  # the new one
    broken: int  # how many of its vowels are not those that harmony asks for


@functools.cache
def shapes(source: str, end: End, loose: bool = False) -> dict[str, list[Shape]]:
    """What may follow `end` in the state `source`, by letters; `loose`: out of harmony, too."""
    found: dict[str, list[Shape]] = {}
    for template in _templates(source, end.last):
        right = fill(template.letters, front=end.front, rounded=end.rounded)
        written = [right]
        if loose and template.suffix.label not in _BORROWED:
            choices = [next((x for x in ("ae", "ıiuü") if y in x), y) for y in right]
            written = list(map("".join, itertools.product(*choices)))
        for letters in written:
            shape = Shape(
                template, advance(end, letters, template.last), _broken(template, letters, end)
            )
            found.setdefault(letters, []).append(shape)
    return found


def _broken(template: Template, letters: str, before: End) -> int:
    count = 0
    for sign, letter in zip(template.letters, letters, strict=True):
        count += fill(sign, front=before.front, rounded=before.rounded) != letter
        before = advance(before, letter, "")
    return count


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
    form = suffix.form
    if suffix.after and (suffix.after == "v") != after_vowel:
        return []
    if last == "y" and form != "Hyor":
        return []
    if form[0] in "SNY":
        form = (form[0].lower() if after_vowel else "") + form[1:]
    elif form[0] == "H" and after_vowel:
        form = form[1:]
    vowel_first = form[0] in "AH" or form[0] in _VOWELS
    if (last == "k" and vowel_first) or (last == "g" and not vowel_first):
        return []
    letters, voiceless = "", last in ("t", "k")
    for sign in form:
        letter = {"D": "dt", "C": "cç"}[sign][voiceless] if sign in "DC" else sign
        voiceless = letter in VOICELESS
        letters += letter
    kind = "v" if letters[-1] in "AH" or letters[-1] in _VOWELS else "t" if voiceless else "d"
    found = [Template(suffix, letters, kind)]
    voiced_k = letters.endswith(("Hk", "Ak")) and suffix.form != "mAk"
    if voiced_k and suffix.target in ("N", "DK", "VZ"):
        found = [Template(suffix, letters, "k"), Template(suffix, letters[:-1] + "ğ", "g")]
    if letters.endswith("A") and len(letters) > 1 and suffix.target in ("V", "VM"):
        found.append(Template(suffix, letters[:-1], "y"))
    return found
