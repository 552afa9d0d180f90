"""Counts of roots and suffixes in annotated words.

The Turkish Web Treebank (`turkish-treebanks`, Apache-2.0) annotates each word with its lemma and
features. Its Wikipedia part is counted; the web part is left for evaluation.
"""

import collections
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mmrec_jax.data import treebank
from mmrec_jax.turkish.letters import lower
from mmrec_jax.turkish.roots import RootClass, stem_shapes
from mmrec_jax.turkish.suffixes import STATES, End, Suffix, inventory, nominal_of, shapes

_NOMINAL = frozenset(["NOUN", "ADJ", "PRON", "NUM"])
_SMOOTHING = 0.3
_ROUNDS = 4
# An encyclopaedia hardly uses the first and second person. The least number of each for one third
# person: the shares in the fiction of UD_Turkish-FrameNet's training split.
_LEAST = {"P1sg": 0.1, "P2sg": 0.05, "P1pl": 0.02, "P2pl": 0.01}
_LEAST |= {"V1sg": 0.2, "V2sg": 0.1, "V1pl": 0.1, "V2pl": 0.02}

# (state, form, label) of a suffix; with an empty form and label, the end of a word in that state.
Arc = tuple[str, str, str]


class AnnotatedWord(NamedTuple):
    """A word of a treebank in the scheme of the Turkish Web Treebank."""

    word: str  # as it is written
    lemma: str  # of its root, in lower case
    root_class: RootClass  # of its root, as `suffixes.py` has it
    boundaries: tuple[int, ...]  # where its derivational groups begin, without the first
    part: str  # part of speech of its last group, such as "NOUN"
    nominal: tuple[str, str, str]  # its number, possessive and case, "" if it has none


def annotated_words(conllu: str, name: str) -> Iterator[AnnotatedWord]:
    """The words of a CoNLL-U text that have a letter, in order; errors call the text `name`."""
    for word in treebank.annotated_words(conllu, name):
        _, form, _, part, tag, *_ = word.groups[0]
        if not any(map(str.isalpha, form)):
            continue
        root_class: RootClass = "V" if part == "VERB" else "X"
        if part in _NOMINAL or tag == "NOMP":
            root_class = "N"
        yield AnnotatedWord(
            word.form, lower(word.lemma), root_class, word.boundaries, word.part, nominal(word)
        )


def nominal(word: treebank.Word) -> tuple[str, str, str]:
    """Number, possessive and case by the annotation, "" if there is none; "Bare" is "Nom"."""
    number, possessive, case = (
        word.features.get(name, "") for name in ("PersonNumber", "Possessive", "Case")
    )
    return (number if number.startswith("A") else "", possessive, "Nom" if case == "Bare" else case)


def count_roots(words: Iterable[AnnotatedWord]) -> dict[tuple[str, RootClass], int]:
    """How often each (lemma, class) is the root of a word."""
    return collections.Counter(
        (word.lemma, word.root_class) for word in words if any(map(str.isalpha, word.lemma))
    )


def arc_costs(counts: Mapping[Arc, float]) -> dict[Arc, float]:
    """-ln P(arc | state) of every suffix and every end of a word; arcs without a count have 0."""
    costs: dict[Arc, float] = {}
    for state in STATES:
        arcs = [(state, x.form, x.label) for x in inventory() if state in x.sources]
        arcs.append((state, "", ""))
        total = sum(counts.get(arc, 0) + _SMOOTHING for arc in arcs)
        for arc in arcs:
            costs[arc] = math.log(total) - math.log(counts.get(arc, 0) + _SMOOTHING)
    return costs


def count_arcs(words: Iterable[AnnotatedWord]) -> dict[Arc, float]:
    """Counts the arcs of the likeliest path of each word that agrees with its annotation.

    A path agrees if it begins with the lemma, its derivations begin at the word's boundaries, and
    number, possessive and case are the word's where it has them. The likeliest path is that under
    the counts of the previous round (Viterbi training); in the first round all arcs are alike.
    Words without such a path are not counted.
    """
    frequency = collections.Counter(
        (lower(word.word), word.lemma, word.root_class, word.boundaries, word.nominal)
        for word in words
    )
    examples = [(list(_agreeing(*word)), count) for word, count in frequency.items()]
    counts: dict[Arc, float] = {}
    for _ in range(_ROUNDS):
        costs, taken = arc_costs(counts), collections.Counter[Arc]()
        for paths, count in examples:
            if paths:
                for arc in min(paths, key=lambda path: sum(costs[arc] for arc in path)):
                    taken[arc] += count
        counts = dict(taken)
    return _with_persons(counts)


def _with_persons(counts: Mapping[Arc, float]) -> dict[Arc, float]:
    """The counts with as many first and second persons as other texts have."""
    raised = dict(counts)
    for suffix in inventory():
        for state in suffix.sources:
            arc, tense = (state, suffix.form, suffix.label), state in ("VT", "VZ")
            third = (state, "", "") if tense else (state, "SH", "P3sg")
            least = round(_LEAST.get(suffix.label, 0) * counts.get(third, 0))
            if suffix.label.startswith("V") == tense and least > counts.get(arc, 0):
                raised[arc] = least
    return raised


def _agreeing(
    letters: str,
    lemma: str,
    root_class: RootClass,
    boundaries: tuple[int, ...],
    nominal: tuple[str, str, str],
) -> Iterator[list[Arc]]:
    for stem, end in stem_shapes(lemma, root_class):
        if not letters.startswith(stem) or any(x < len(stem) for x in boundaries):
            continue
        for path in _paths(letters, len(stem), root_class, end, boundaries):
            ours = nominal_of((suffix.label, suffix.kind) for suffix in path)
            if all(x in ("", y) for x, y in zip(nominal, ours, strict=True)):
                states = (root_class, *(suffix.target for suffix in path))
                arcs = [(s, x.form, x.label) for s, x in zip(states, path, strict=False)]
                yield [*arcs, (states[-1], "", "")]


def _paths(
    letters: str, start: int, state: str, end: End, boundaries: tuple[int, ...]
) -> Iterator[list[Suffix]]:
    """All paths from `start` to the end of the word whose derivations are at `boundaries` alone."""
    if start == len(letters):
        if end.last not in ("g", "y"):
            yield []
        return
    table = shapes(state, end)
    for stop in range(start + 1, len(letters) + 1):
        if any(start < boundary < stop for boundary in boundaries):
            break
        for (suffix, _, _), after, _ in table.get(letters[start:stop], ()):
            if (suffix.kind == "derivation") == (start in boundaries):
                for rest in _paths(letters, stop, suffix.target, after, boundaries):
                    yield [suffix, *rest]


def treebank_words() -> Iterator[AnnotatedWord]:
    """The words of the treebank's Wikipedia part.

    Raises:
      UserError: the package `turkish-treebanks` is not installed or its file is gone.
    """
    path = treebank.treebank_file("wiki")
    return annotated_words(path.read_text(encoding="utf-8"), str(path))
