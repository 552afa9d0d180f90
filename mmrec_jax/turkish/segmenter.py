"""Words into roots and suffixes: the likeliest path through the automaton of `suffixes.py`.

    cost(path) = -ln P(root) - sum over its arcs of ln P(arc | state) - ln P(end | last state)

P(root) comes from `lexicon.py`, the arcs' from `suffix_counts.csv`: how often each was on the path
that agrees with the annotation of the Wikipedia part of the Turkish Web Treebank. A word is read on
its own: what only its neighbours could tell (`evi`: "his house" or "the house") is decided for the
commoner.
"""

import functools
from collections.abc import Mapping

from mmrec_jax.turkish.allomorphs import End, end_of, shapes
from mmrec_jax.turkish.casing import lower
from mmrec_jax.turkish.lexicon import Lexicon, Root, treebank_lexicon
from mmrec_jax.turkish.segmentation import Morph, Segmentation
from mmrec_jax.turkish.suffix_counts import Arc, arc_costs, read_counts
from mmrec_jax.turkish.suffixes import FINAL, Suffix
from mmrec_jax.turkish.vowels import VOWELS

_LONGEST_SUFFIX = 8
_MAX_REMEMBERED = 1 << 18
_APOSTROPHES = "'’ʼ`´"

# Letters and suffix of each step, the first step outermost; None at the end of the word.
_Path = tuple[int, Suffix, "_Path"] | None


class Segmenter:
    """Segments words; remembers what it has seen of their ends."""

    def __init__(self, lexicon: Lexicon, counts: Mapping[Arc, float]) -> None:
        """`counts`: how often each arc was taken, and each state the last."""
        self._lexicon = lexicon
        self._costs = arc_costs(counts)
        self._rests: dict[tuple[str, str, End], tuple[float, _Path] | None] = {}
        self.segment = functools.lru_cache(maxsize=1 << 16)(self._segment)

    def _segment(self, word: str) -> Segmentation:
        """The likeliest segmentation of a word.

        Args:
          word: letters, any case; an apostrophe ends the root (`Ankara'da`). Any other text is a
            root as a whole.
        """
        letters = lower(word)
        if len(letters) != len(word) or not letters:
            return Segmentation(word, 0, len(word), "X", letters, ())
        for mark in _APOSTROPHES:
            place = letters.find(mark)
            if 0 < place < len(letters) - 1:
                return self._named(word, letters, place)
        cost, root, length, path = self._best(letters)
        return _result(word, root, length, path, skipped=None)

    def _best(self, letters: str) -> tuple[float, Root, int, _Path]:
        best: tuple[float, Root, int, _Path] | None = None
        unknown = {x: self._lexicon.unknown_costs(letters, x) for x in ("N", "V")}
        has_vowel = False
        for length in range(1, len(letters) + 1):
            head, rest = letters[:length], letters[length:]
            has_vowel = has_vowel or head[-1] in VOWELS
            roots = self._lexicon.known(head)
            if length > 1 and has_vowel:
                end = end_of(head)
                known = {root.root_class for root in roots}
                roots = roots + [
                    Root(x, head, unknown[x][length], end)  # type: ignore[arg-type]
                    for x in ("N", "V")
                    if x not in known
                ]
            for root in roots:
                if best is not None and root.cost >= best[0]:
                    continue
                found = self._rest(rest, root.root_class, root.end)
                if found is not None and (best is None or root.cost + found[0] < best[0]):
                    best = (root.cost + found[0], root, length, found[1])
        if best is None:
            return (0.0, Root("X", letters, 0.0, end_of(letters)), len(letters), None)
        return best

    def _named(self, word: str, letters: str, place: int) -> Segmentation:
        """A name with an apostrophe: the root is before it, however foreign it sounds."""
        head, rest = letters[:place], letters[place + 1 :]
        ends = [root.end for root in self._lexicon.known(head)] + [end_of(head)]
        ends += [
            End(front, rounded, last)
            for front in (False, True)
            for rounded in (False, True)
            for last in ("v", "d", "t")
        ]
        path: _Path = None
        for end in ends:
            found = self._rest(rest, "N", end)
            if found is not None:
                path = found[1]
                break
        else:
            return Segmentation(word, 0, len(word), "X", letters, ())
        root = Root("N", head, 0.0, ends[0])
        return _result(word, root, place, path, skipped=place)

    def _rest(self, rest: str, state: str, end: End) -> tuple[float, _Path] | None:
        """The cheapest way from a state to the end of the word, None where there is none."""
        if not rest:
            if state not in FINAL or end.last in ("g", "y"):
                return None
            return self._costs[state, "", ""], None
        key = (rest, state, end)
        if key in self._rests:
            return self._rests[key]
        best: tuple[float, _Path] | None = None
        table = shapes(state, end)
        for length in range(1, min(len(rest), _LONGEST_SUFFIX) + 1):
            for suffix, after in table.get(rest[:length], ()):
                tail = self._rest(rest[length:], suffix.target, after)
                if tail is None:
                    continue
                cost = tail[0] + self._costs[state, suffix.form, suffix.label]
                if best is None or cost < best[0]:
                    best = (cost, (length, suffix, tail[1]))
        if len(self._rests) >= _MAX_REMEMBERED:
            self._rests.clear()
        self._rests[key] = best
        return best


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


def _result(
    word: str, root: Root, length: int, path: _Path, *, skipped: int | None
) -> Segmentation:
    place = length + (skipped is not None)
    morphs = []
    while path is not None:
        letters, suffix, path = path
        text = word[place : place + letters]
        morphs.append(Morph(place, place + letters, text, suffix.label, suffix.kind))
        place += letters
    return Segmentation(word, 0, length, root.root_class, root.lemma, tuple(morphs))
