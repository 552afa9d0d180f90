"""Words into roots and suffixes: the likeliest path through the automaton of `suffixes.py`.

    cost(path) = -ln P(root) - sum over its arcs of ln P(arc | state) - ln P(end | last state)

P(root) comes from `roots.py`, that of the arcs from `counts.py`. A word is segmented without its
context: what only its neighbours could tell (`evi`: "his house" or "the house") is decided for the
commoner.
"""

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from mmrec_jax.turkish.counts import Arc, arc_costs, count_arcs, count_roots, treebank_words
from mmrec_jax.turkish.letters import (
    APOSTROPHES,
    LETTERS,
    VOWELS,
    disharmony,
    follow,
    last_vowel,
    lower,
    normalise,
)
from mmrec_jax.turkish.readings import readings
from mmrec_jax.turkish.roots import Lexicon, Root, RootClass, noun_ends
from mmrec_jax.turkish.suffixes import (
    End,
    Kind,
    Nominal,
    Template,
    advance,
    end_of,
    nominal_of,
    shapes,
)

# A longer word is not analysed: the longest that anybody quotes has 70 letters.
LONGEST_WORD = 128
_LONGEST_SUFFIX = 8
# Costs of a vowel that breaks harmony where it may, in a suffix and in an unknown root, nats.
_DISHARMONY = 3.0
_ROOT_DISHARMONY = 1.5
_NO_END = End(False, False, "d")
# A stem has a vowel, and after a circumflex a l is palatal and has no plain a, ı, o or u after it
# (`hâlâ`, but `hâl-e`).
_STEM = re.compile(f"(?!.*[âû]l[aıou]).*[{VOWELS}]", re.DOTALL)
# A name or number, an apostrophe and suffixes; a number and two letters or more.
_NAME = re.compile(rf"(?P<head>.+)[{APOSTROPHES}](?P<suffixes>.+)", re.DOTALL)
_NUMBER = re.compile(rf"(?P<head>\d+(?:[.,:]\d+)*)(?P<suffixes>(?=..){LETTERS.pattern})")
_OPEN_CLASSES: tuple[RootClass, ...] = ("N", "V")
# Derivations whose result stands in a dictionary: önem-li, göz-lük, temiz-le-, bit-ir-.
_LEXICAL = "With Wout Ness Agt Rtd Dim Foll Doct Rcpl Make Acq Bcm Cau Rcp Rfx Inh Res"
_DICTIONARY_LABELS = frozenset(_LEXICAL.split())


class Morph(NamedTuple):
    """A suffix in a word."""

    start: int  # index of its first letter in the word (its buffer letter, if it has one)
    end: int  # index after its last letter
    text: str  # its letters as they stand in the word
    template: str  # the same with `A` and `H` where vowel harmony chooses: `lAr` of `lar`
    label: str  # its name, such as "With" or "Loc" (`suffixes.py`)
    kind: Kind  # whether it derives a word or inflects one


@dataclasses.dataclass(frozen=True, slots=True)
class Segmentation:
    """A word as a root and suffixes."""

    word: str  # as it was given, normalised
    end: int  # index after the root's last letter
    root_class: RootClass  # "N" nominal, "V" verb, "X" hardly inflected
    lemma: str  # the root's dictionary form, a verb's without -mek; in lower case
    suffixes: tuple[Morph, ...]  # in order, without gaps except for an apostrophe
    # What the suffixes may see of the root, the likeliest first: several if it is read in several
    # ways, none if it is not known how (`readings.py`)
    ends: tuple[End, ...] = ()

    @property
    def root(self) -> str:
        """The root as it is written in the word."""
        return self.word[: self.end]

    def boundaries(self, kind: Kind | None = None) -> tuple[int, ...]:
        """The start of each suffix, or of those of one kind."""
        return tuple(x.start for x in self.suffixes if kind is None or x.kind == kind)

    @property
    def dictionary_form(self) -> str:
        """The uninflected word as a dictionary lists it: `kitapçı` of `kitapçılarda`.

        The root with its leading derivations that make words, in lower case, a verb's without -mek.
        """
        form = self.lemma
        for index, morph in enumerate(self.suffixes):
            if morph.label not in _DICTIONARY_LABELS:
                break
            form = lower(self.word[: morph.end])
            if morph.template.endswith("ğ"):
                form = form[:-1] + "k"
            following = self.suffixes[index + 1 : index + 2]
            if morph.template == "l" and following and following[0].template == "Hyor":
                form += follow(form, "A")
        return form

    @property
    def nominal(self) -> Nominal:
        """Number, possessive and case after the last derivation."""
        return nominal_of((morph.label, morph.kind) for morph in self.suffixes)


# The suffixes from some position to the end of a word, each with its length.
_Path = tuple[tuple[int, Template], ...]
# The cost of the cheapest path and the path; None: there is none.
_Found = tuple[float, _Path] | None


class Segmenter:
    """Segments words; caches its results."""

    def __init__(self, lexicon: Lexicon, counts: Mapping[Arc, float]) -> None:
        """`counts`: how often each suffix followed each state, and each state ended a word."""
        self.lexicon = lexicon
        self._costs = arc_costs(counts)
        self._path = functools.lru_cache(maxsize=1 << 18)(self._cheapest)
        self._cached = functools.lru_cache(maxsize=1 << 16)(self._segment)

    def segment(self, word: str, loose: bool = False) -> Segmentation:
        """The likeliest segmentation of a word in any case; other text is a root as a whole.

        An apostrophe ends the root (`Ankara'da`, `3'te`), and so does the last digit. `loose`
        allows suffixes that break vowel harmony, at a cost. Words of more than `LONGEST_WORD`
        letters are not analysed. All indices are those of `normalise(word)`.
        """
        word = normalise(word)
        if not 0 < len(word) <= LONGEST_WORD:
            return Segmentation(word, len(word), "X", lower(word), ())
        return self._cached(word, loose)

    def _segment(self, word: str, loose: bool) -> Segmentation:
        letters = lower(word)
        name = _NAME.fullmatch(letters) or _NUMBER.fullmatch(letters)
        if name:
            return self._segment_name(word, name, loose)
        _, root, length, path = self._best(letters, loose)
        return _result(word, root, length, (length, path))

    def _best(self, letters: str, loose: bool) -> tuple[float, Root, int, _Path]:
        """The cheapest analysis: its cost, root, the root's length and the path after it."""
        best: tuple[float, Root, int, _Path]
        best = math.inf, Root("X", letters, 0.0, _NO_END), len(letters), ()

        def consider(root: Root, length: int) -> None:
            nonlocal best
            found = self._path(letters[length:], root.root_class, root.end, loose)
            if found is not None and root.cost + found[0] < best[0]:
                best = (root.cost + found[0], root, length, found[1])

        for length in range(len(letters), 0, -1):
            for root in self.lexicon.known(letters[:length]):
                if root.cost < best[0]:
                    consider(root, length)
        breaks = disharmony(letters) if loose else [0] * (len(letters) + 1)
        for root_class in _OPEN_CLASSES:
            # Costs grow with the length: those that already exceed the limit are not computed.
            costs = self.lexicon.unknown_costs(letters, root_class, best[0])
            for length in range(2, len(costs)):
                cost = costs[length] + _ROOT_DISHARMONY * breaks[length]
                stem = letters[:length]
                if cost < best[0] and _STEM.match(stem):
                    end = noun_ends(stem)[0] if root_class == "N" else end_of(stem)
                    consider(Root(root_class, stem, cost, end), length)
        return best

    def _segment_name(self, word: str, name: re.Match[str], loose: bool) -> Segmentation:
        """A name or number and its suffixes: the root is before them, however it is read."""
        (head, rest), start = name.groups(), name.start("suffixes")
        roots = [root for root in self.lexicon.known(head) if root.root_class == "N"]
        # `Savaşı'nda`: the name may itself end in suffixes, which determine the case after it.
        _, root, length, path = self._best(head, loose)
        if not roots and path and self.lexicon.known(head[:length]):
            _, last = path[-1]
            end = advance(root.end, head, last.last)
            found = self._path(rest, last.suffix.target, end, loose)
            if found is not None:
                return _result(word, root, length, (length, path), (start, found[1]))
        # Before small letters alone capitals are an abbreviation: `İSTANBUL'DA` is none.
        as_written = word[: len(head)] if rest == word[start:] else head
        read = readings(as_written, self.lexicon.known)
        ends = [*read, *(root.end for root in roots if root.end.last not in ("g", "y"))]
        ends = ends or [end_of(head)]
        ends += itertools.starmap(End, itertools.product((False, True), (False, True), "dtv"))
        for end in ends:
            found = self._path(rest, "N", end, loose)
            if found is not None:
                # A buffer letter that no reading asks for: it is read otherwise (`Mike'ın`).
                read = tuple(x for x in read if (x.last == "v") == (end.last == "v"))
                whole = _result(word, Root("N", head, 0.0, end), len(head), (start, found[1]))
                return dataclasses.replace(whole, ends=read)
        return Segmentation(word, len(word), "X", lower(word), ())

    def _cheapest(self, rest: str, state: str, end: End, loose: bool) -> _Found:
        """The cheapest path from a state to the end of the word."""
        if not rest:
            return None if end.last in ("g", "y") else (self._costs[state, "", ""], ())
        best: _Found = None
        limit = math.inf
        table = shapes(state, end, loose)
        for length in range(1, min(len(rest), _LONGEST_SUFFIX) + 1):
            for template, after, broken in table.get(rest[:length], ()):
                suffix = template.suffix
                cost = broken * _DISHARMONY + self._costs[state, suffix.form, suffix.label]
                if cost < limit:
                    tail = self._path(rest[length:], suffix.target, after, loose)
                    if tail is not None and cost + tail[0] < limit:
                        limit = cost + tail[0]
                        best = (limit, ((length, template), *tail[1]))
        return best


def _result(word: str, root: Root, length: int, *paths: tuple[int, _Path]) -> Segmentation:
    """The root and the suffixes of some paths, each given with its start in the word."""
    morphs = []
    for start, path in paths:
        for letters, (suffix, template, _) in path:
            stop = start + letters
            morphs.append(Morph(start, stop, word[start:stop], template, suffix.label, suffix.kind))
            start = stop
    # A noun may have lost its vowel (kabir, kabr-i), which its lemma has; a verb is as it is
    # written (söyle-, söyl-üyor), if it has a vowel left (de-, d-iyor).
    written = lower(word[:length])
    if root.root_class == "N" and last_vowel(root.lemma):
        ends = noun_ends(root.lemma)
    else:
        ends = (end_of(written if last_vowel(written) else root.lemma),)
    return Segmentation(word, length, root.root_class, root.lemma, tuple(morphs), ends)


@functools.cache
def treebank_segmenter() -> Segmenter:
    """The segmenter with the lexicon and the counts of the treebank's Wikipedia part.

    Raises:
      UserError: the package `turkish-treebanks` is not installed or its file is gone.
    """
    words = list(treebank_words())
    return Segmenter(Lexicon(count_roots(words)), count_arcs(words))


def segment(word: str) -> Segmentation:
    """`treebank_segmenter().segment(word)`.

    `segment("kitapçılarda")` has the root `kitap`, then `çı` (Agt, derivation), `lar` (A3pl) and
    `da` (Loc), so `boundaries("derivation") == (5,)`.
    """
    return treebank_segmenter().segment(word)
