"""Counts of roots and suffixes in annotated words.

The Turkish Web Treebank (`turkish-treebanks`, Apache-2.0) annotates each word with its lemma and
features. Its Wikipedia part is counted; the web part is left for evaluation.
"""

import collections
import math
from collections.abc import Iterable, Iterator, Mapping

from mmrec_jax.data.treebank import Word, annotated_words, treebank_file
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


def words_with_letters(conllu: str, name: str) -> Iterator[Word]:
    """The words of a CoNLL-U text that begin with a group with a letter; errors name it `name`."""
    found = annotated_words(conllu, name)
    return (word for word in found if any(map(str.isalpha, word.groups[0][1])))


def root_of(word: Word) -> tuple[str, RootClass]:
    """The lemma of a word's root, in lower case, and its class, as `suffixes.py` has it."""
    part, tag = word.groups[0][3:5]
    root_class: RootClass = "V" if part == "VERB" else "X"
    return lower(word.lemma), "N" if part in _NOMINAL or tag == "NOMP" else root_class


def annotated_nominal(word: Word) -> tuple[str, str, str]:
    """Number, possessive and case by the annotation, "" if there is none; "Bare" is "Nom"."""
    names = "PersonNumber", "Possessive", "Case"
    number, possessive, case = (word.features.get(name, "") for name in names)
    return (number if number.startswith("A") else "", possessive, "Nom" if case == "Bare" else case)


def count_roots(words: Iterable[Word]) -> dict[tuple[str, RootClass], int]:
    """How often each (lemma, class) is the root of a word."""
    roots = map(root_of, words)
    return collections.Counter(root for root in roots if any(map(str.isalpha, root[0])))


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


def count_arcs(words: Iterable[Word]) -> dict[Arc, float]:
    """Counts the arcs of the likeliest path of each word that agrees with its annotation.

    A path agrees if it begins with the lemma, its derivations begin at the word's boundaries, and
    number, possessive and case are the word's where it has them. The likeliest path is that under
    the counts of the previous round (Viterbi training); in the first round all arcs are alike.
    Words without such a path are not counted.
    """
    frequency = collections.Counter(
        (lower(word.form), *root_of(word), word.boundaries, annotated_nominal(word))
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


def treebank_words() -> Iterator[Word]:
    """The words of the treebank's Wikipedia part.

    Raises:
      UserError: the package `turkish-treebanks` is not installed or its file is gone.
    """
    path = treebank_file("wiki")
    return words_with_letters(path.read_text(encoding="utf-8"), str(path))
