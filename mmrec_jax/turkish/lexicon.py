"""Roots and how likely they are: counted in the Wikipedia part of the Turkish Web Treebank.

The distribution `turkish-treebanks` (Apache-2.0) annotates each word with its lemma and part of
speech. Only its Wikipedia part is read; the web part is left for evaluation.
"""

import collections
import functools
import math
from typing import NamedTuple

from mmrec_jax.data.treebank import treebank_file
from mmrec_jax.turkish.allomorphs import End
from mmrec_jax.turkish.annotated_word import annotated_words
from mmrec_jax.turkish.roots import RootClass, StemShape, stem_shapes
from mmrec_jax.turkish.stem_exceptions import PRONOUN_FORMS, PRONOUN_STEMS

_LETTERS = 40  # of an alphabet with marks and foreign letters: smoothing


class Root(NamedTuple):
    """One reading of some letters as a root.

    Attributes:
      root_class: "N", "V" or "X", the state of `suffixes.py` that it begins in.
      lemma: its dictionary form; of a verb the stem.
      cost: -ln P(root), nats.
      end: what suffixes see of it.
    """

    root_class: RootClass
    lemma: str
    cost: float
    end: End


class Lexicon:
    """Known roots by their letters, and a price for unknown ones."""

    def __init__(self, counts: dict[tuple[str, RootClass], int]) -> None:
        """`counts`: how often each lemma of each class was seen."""
        totals = collections.Counter[str]()
        once = collections.Counter[str]()
        for (_, root_class), count in counts.items():
            totals[root_class] += count
            once[root_class] += count == 1
        everything = sum(totals.values())
        self._roots: dict[str, list[Root]] = {}
        for (lemma, root_class), count in counts.items():
            # Good and Turing: what was seen once is as likely as all that was never seen.
            unseen = once[root_class] / totals[root_class]
            cost = -math.log((count - 0.5) * (1 - unseen) / everything)
            for index, shape in enumerate(stem_shapes(lemma, root_class)):
                self._add(shape, root_class, lemma, cost + 0.5 * (index > 0))
        for letters, lemma in {**PRONOUN_STEMS, **PRONOUN_FORMS}.items():
            if (lemma, "N") in counts:
                cost = -math.log(counts[lemma, "N"] / everything)
                self._add(stem_shapes(letters, "N")[0], "N", lemma, cost)
        self._unknown = {
            root_class: -math.log(max(once[root_class], 1) / everything) for root_class in "NV"
        }
        self._spelling = {
            root_class: _Spelling(
                [lemma for (lemma, other), count in counts.items() if other == root_class]
            )
            for root_class in "NV"
        }

    def _add(self, shape: StemShape, root_class: RootClass, lemma: str, cost: float) -> None:
        self._roots.setdefault(shape.letters, []).append(Root(root_class, lemma, cost, shape.end))

    def known(self, letters: str) -> list[Root]:
        """The known roots with exactly these letters."""
        return self._roots.get(letters, [])

    def unknown_costs(self, word: str, root_class: RootClass, limit: float) -> list[float]:
        """-ln P(unknown root) of each prefix of `word`, index 0 the empty one.

        The list ends where all longer prefixes cost at least `limit`.
        """
        return self._spelling[root_class].prefix_costs(word, self._unknown[root_class], limit)


class _Spelling:
    """Letters given the two before them, with the end of the word as a letter."""

    def __init__(self, words: list[str]) -> None:
        self._pairs = collections.Counter[str]()
        self._triples = collections.Counter[str]()
        for word in words:
            spelled = f"^^{word}$"
            for place in range(2, len(spelled)):
                self._triples[spelled[place - 2 : place + 1]] += 1
                self._pairs[spelled[place - 1 : place + 1]] += 1
        self._pair_totals = collections.Counter[str]()
        self._triple_totals = collections.Counter[str]()
        for pair, count in self._pairs.items():
            self._pair_totals[pair[0]] += count
        for triple, count in self._triples.items():
            self._triple_totals[triple[:2]] += count
        self._costs: dict[tuple[str, str, str], float] = {}

    def _cost(self, a: str, b: str, c: str) -> float:
        pair = (self._pairs[b + c] + 0.2) / (self._pair_totals[b] + 0.2 * _LETTERS)
        share = (self._triples[a + b + c] + 3 * pair) / (self._triple_totals[a + b] + 3)
        cost = self._costs[a, b, c] = -math.log(share)
        return cost

    def prefix_costs(self, word: str, start: float, limit: float) -> list[float]:
        costs, total, known = [start], start, self._costs
        a, b = "^", "^"
        for letter in word:
            step = known.get((a, b, letter))
            total += step if step is not None else self._cost(a, b, letter)
            if total >= limit:
                break
            a, b = b, letter
            step = known.get((a, b, "$"))
            costs.append(total + (step if step is not None else self._cost(a, b, "$")))
        return costs


@functools.cache
def treebank_lexicon() -> Lexicon:
    """The lexicon of the treebank's Wikipedia part.

    Raises:
      UserError: the package `turkish-treebanks` is not installed or its file is gone.
    """
    path = treebank_file("wiki")
    return Lexicon(count_roots(path.read_text(encoding="utf-8"), str(path)))


def count_roots(conllu: str, name: str) -> dict[tuple[str, RootClass], int]:
    """How often each (lemma, class) is the root of a word in an annotated text."""
    return collections.Counter(
        (word.lemma, word.root_class)
        for word in annotated_words(conllu, name)
        if any(map(str.isalpha, word.lemma))
    )
