"""Words into roots and suffixes: the likeliest path through the automaton of `suffixes.py`.

    cost(path) = -ln P(root) - sum over its arcs of ln P(arc | state) - ln P(end | last state)

P(root) comes from `lexicon.py`, the arcs' from `suffix_counts.py`. A word is read on its own: what
only its neighbours could tell (`evi`: "his house" or "the house") is decided for the commoner.
"""

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

from mmrec_jax.turkish.allomorphs import (
    End,
    Template,
    advance,
    end_of,
    fold,
    lengths,
    loose_templates,
    shapes,
)
from mmrec_jax.turkish.casing import lower
from mmrec_jax.turkish.lexicon import Lexicon, Root, treebank_lexicon
from mmrec_jax.turkish.roots import RootClass
from mmrec_jax.turkish.segmentation import Morph, Segmentation
from mmrec_jax.turkish.suffix_counts import Arc, arc_costs, read_counts
from mmrec_jax.turkish.vowels import VOWELS, fill
from mmrec_jax.turkish.words import APOSTROPHES

_LONGEST_SUFFIX = 8
_REMEMBERED = 1 << 18
# What a suffix vowel against vowel harmony costs, nats.
_DISHARMONY = 5.0


class _Path(NamedTuple):
    """The steps from some place to the end of a word."""

    length: int
    template: Template
    rest: "_Path | None"


_NO_END = End(False, False, "d")
_OPEN: tuple[RootClass, ...] = ("N", "V")

_Found = tuple[float, _Path | None] | None


class Segmenter:
    """Segments words; remembers what it has seen."""

    def __init__(self, lexicon: Lexicon, counts: Mapping[Arc, float]) -> None:
        """`counts`: how often each arc was taken, and each state the last."""
        self._lexicon = lexicon
        self._costs = arc_costs(counts)
        self._rests: dict[tuple[str, str, End, bool], _Found] = {}
        self.segment = functools.lru_cache(maxsize=1 << 16)(self._segment)

    def _segment(self, word: str, loose: bool = False) -> Segmentation:
        """The likeliest segmentation of a word.

        Args:
          word: letters, any case; an apostrophe ends the root (`Ankara'da`). Any other text is a
            root as a whole.
          loose: allow suffixes that break vowel harmony, at a price, behind known roots.
        """
        letters = lower(word)
        if len(letters) != len(word) or not letters:
            return Segmentation(word, len(word), "X", letters, ())
        for mark in APOSTROPHES:
            place = letters.find(mark)
            if 0 < place < len(letters) - 1:
                return self._named(word, letters, place, loose)
        _, root, length, path = self._best(letters, loose)
        return _result(word, root, length, (length, path))

    def _best(self, letters: str, loose: bool) -> tuple[float, Root, int, _Path | None]:
        """The cheapest reading: its cost, root, the root's letters and the path behind it."""
        limit = math.inf
        nothing = Root("X", letters, 0.0, _NO_END)
        best: tuple[float, Root, int, _Path | None] = (limit, nothing, len(letters), None)
        known = self._lexicon.known
        for length in range(len(letters), 0, -1):
            for root in known(letters[:length]):
                if root.cost < limit:
                    found = self._rest(letters[length:], root.root_class, root.end, loose)
                    if found is not None and root.cost + found[0] < limit:
                        limit = root.cost + found[0]
                        best = (limit, root, length, found[1])
        ends: list[End | None] = []
        for root_class in _OPEN:
            # Costs grow with the length: those that are already too dear are not computed.
            costs = self._lexicon.unknown_costs(letters, root_class, limit)
            for length in range(2, len(costs)):
                cost = costs[length]
                if cost < limit:
                    ends = ends or _ends(letters)
                    end = ends[length]
                    if end is None:
                        continue
                    found = self._rest(letters[length:], root_class, end, False)
                    if found is not None and cost + found[0] < limit:
                        limit = cost + found[0]
                        root = Root(root_class, letters[:length], cost, end)
                        best = (limit, root, length, found[1])
        return best

    def _named(self, word: str, letters: str, place: int, loose: bool) -> Segmentation:
        """A name with an apostrophe: its root is before it, however foreign it sounds."""
        head, rest = letters[:place], letters[place + 1 :]
        roots = [root for root in self._lexicon.known(head) if root.root_class == "N"]
        # `Savaşı'nda`: the name may itself end in suffixes, of which the case must know.
        _, root, length, path = self._best(head, loose=False)
        if not roots and path is not None and self._lexicon.known(letters[:length]):
            last = path
            while last.rest is not None:
                last = last.rest
            end = advance(root.end, head, last.template.last)
            found = self._rest(rest, last.template.suffix.target, end, loose)
            if found is not None:
                return _result(word, root, length, (length, path), (place + 1, found[1]))
        ends = [root.end for root in roots if root.end.last not in ("g", "y")] or [end_of(head)]
        for front in (False, True):
            for rounded in (False, True):
                ends += [End(front, rounded, last_kind) for last_kind in ("v", "d", "t")]
        for end in ends:
            found = self._rest(rest, "N", end, loose)
            if found is not None:
                name = Root("N", head, 0.0, end)
                return _result(word, name, place, (place + 1, found[1]))
        return Segmentation(word, len(word), "X", letters, ())

    def _rest(self, rest: str, state: str, end: End, loose: bool) -> _Found:
        """The cheapest way from a state to the end of the word, None where there is none."""
        if not rest:
            if end.last in ("g", "y"):
                return None
            return self._costs[state, "", ""], None
        key = (rest, state, end, loose)
        if key in self._rests:
            return self._rests[key]
        best: _Found = None
        limit = math.inf
        for length, template, after, price in _steps(rest, state, end, loose):
            suffix = template.suffix
            cost = price + self._costs[state, suffix.form, suffix.label]
            if cost < limit:
                tail = self._rest(rest[length:], suffix.target, after, loose)
                if tail is not None and cost + tail[0] < limit:
                    limit = cost + tail[0]
                    best = (limit, _Path(length, template, tail[1]))
        if len(self._rests) >= _REMEMBERED:
            self._rests.clear()
        self._rests[key] = best
        return best


def _steps(rest: str, state: str, end: End, loose: bool) -> list[tuple[int, Template, End, float]]:
    """What `rest` may begin with: length, suffix, the end it makes, its price beside its arc's."""
    if not loose:
        table = shapes(state, end)
        return [
            (length, template, after, 0.0)
            for length in lengths(state, end).get(rest[0], ())
            if length <= len(rest)
            for template, after in table.get(rest[:length], ())
        ]
    steps = []
    for length in range(1, min(len(rest), _LONGEST_SUFFIX) + 1):
        letters = rest[:length]
        for template in loose_templates(state, end.last).get(fold(letters), ()):
            broken, before = 0, end
            for sign, letter in zip(template.letters, letters, strict=True):
                broken += fill(sign, front=before.front, rounded=before.rounded) != letter
                before = advance(before, letter, "")
            after = advance(end, letters, template.last)
            steps.append((length, template, after, broken * _DISHARMONY))
    return steps


def _ends(letters: str) -> list[End | None]:
    """The end of each prefix of a word, index 0 the empty one; None before the first vowel."""
    ends: list[End | None] = [None]
    end: End | None = None
    for letter in letters:
        if end is not None or letter in VOWELS:
            end = advance(end or _NO_END, letter, end_of(letter).last)
        ends.append(end)
    return ends


@functools.cache
def treebank_segmenter() -> Segmenter:
    """The segmenter with the lexicon and the counts of the treebank's Wikipedia part.

    Raises:
      UserError: the package `turkish-treebanks` is not installed or its file is gone.
    """
    return Segmenter(treebank_lexicon(), read_counts())


def segment(word: str) -> Segmentation:
    """`treebank_segmenter().segment(word)`: the likeliest root and suffixes of a word.

    `segment("kitapçılarda")` has the root `kitap`, then `çı` (Agt, derivation), `lar` (A3pl) and
    `da` (Loc), so `boundaries("derivation") == (5,)`.

    Raises:
      UserError: the package `turkish-treebanks` is not installed or its file is gone.
    """
    return treebank_segmenter().segment(word)


def _result(word: str, root: Root, length: int, *paths: tuple[int, _Path | None]) -> Segmentation:
    """The root's letters and the suffixes of some paths, each from its place in the word."""
    morphs = []
    for place, path in paths:
        while path is not None:
            stop, (suffix, template, _) = place + path.length, path.template
            morphs.append(Morph(place, stop, word[place:stop], template, suffix.label, suffix.kind))
            place, path = stop, path.rest
    return Segmentation(word, length, root.root_class, root.lemma, tuple(morphs))
