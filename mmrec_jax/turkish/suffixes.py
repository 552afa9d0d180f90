"""The inventory of suffixes: what follows what, as the arcs of an automaton.

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
| DK | -dik- and -ecek-, which lean on a possessive |
| E | what nothing follows |
| X | a word that is hardly inflected (adverb, conjunction, particle) |
"""

import dataclasses
import functools
from typing import Literal

Kind = Literal["derivation", "inflection"]


@dataclasses.dataclass(frozen=True)
class Suffix:
    """One arc.

    Attributes:
      sources: the states it may follow.
      target: the state it leads to.
      form: its lexical form, such as `lAr`.
      label: its name, unique among the suffixes of one source and form.
      kind: "derivation" or "inflection".
      after: which ends it may follow: "v" a vowel, "c" a consonant, "" any.
    """

    sources: tuple[str, ...]
    target: str
    form: str
    label: str
    kind: Kind
    after: Literal["", "v", "c"] = ""


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
        for entry in entries.split(","):
            form, label = entry.strip().split(":")
            after: Literal["", "v", "c"] = ""
            if form[-1] in "<>":
                after = "c" if form[-1] == "<" else "v"
                form = form[:-1]
            kind_name: Kind = "derivation" if kind == "d" else "inflection"
            found.append(Suffix(tuple(sources.split()), target, form, label, kind_name, after))
    return tuple(found)


# In any of them a word may end.
STATES = tuple(sorted({state for x in inventory() for state in (*x.sources, x.target)}))
