"""How often each suffix follows each state: counted on annotated words, kept in a table.

python -m mmrec_jax.turkish.suffix_counts

reads the Wikipedia part of the Turkish Web Treebank and writes `suffix_counts.csv` anew.
"""

import collections
import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.data.treebank import treebank_file
from mmrec_jax.turkish.allomorphs import End, shapes
from mmrec_jax.turkish.annotated_word import AnnotatedWord, annotated_words
from mmrec_jax.turkish.casing import lower
from mmrec_jax.turkish.nominal import nominal_of
from mmrec_jax.turkish.roots import stem_shapes
from mmrec_jax.turkish.suffixes import STATES, Suffix, inventory

COUNTS_FILE = Path(__file__).with_name("suffix_counts.csv")
_SMOOTHING = 0.3
_ROUNDS = 4
# An encyclopaedia hardly says I and you. How many of each person there are for one third person, at
# least: the shares in the fiction of UD_Turkish-FrameNet's training split.
_POSSESSIVES = {"P1sg": 0.1, "P2sg": 0.05, "P1pl": 0.02, "P2pl": 0.01}
_PERSONS = {"V1sg": 0.2, "V2sg": 0.1, "V1pl": 0.1, "V2pl": 0.02}

# An arc's name: state, form, label; with an empty form, the end of a word in that state.
Arc = tuple[str, str, str]


def read_counts(path: Path = COUNTS_FILE) -> dict[Arc, float]:
    """The table: how often each arc was taken."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return {(state, form, label): float(count) for state, form, label, count in rows}


def arc_costs(counts: Mapping[Arc, float]) -> dict[Arc, float]:
    """-ln P(arc | state) of every arc and every end of a word, from counts that may lack some."""
    costs: dict[Arc, float] = {}
    for state in STATES:
        arcs = [(state, x.form, x.label) for x in inventory() if state in x.sources]
        arcs.append((state, "", ""))
        total = sum(counts.get(arc, 0) + _SMOOTHING for arc in arcs)
        for arc in arcs:
            costs[arc] = math.log(total) - math.log(counts.get(arc, 0) + _SMOOTHING)
    return costs


def count_arcs(words: Iterable[AnnotatedWord]) -> dict[Arc, float]:
    """Counts the arcs of the likeliest path of each word among those that agree with it.

    A path agrees if it begins with the lemma, its derivations begin at the word's boundaries, and
    number, possessive and case are the word's, as far as it has them. The likeliest is that under
    the counts of the round before (Viterbi training); in the first round all arcs are alike. Words
    without such a path are not counted.
    """
    frequency = collections.Counter(_frozen(word) for word in words)
    examples = [(list(_agreeing(word)), count) for word, count in frequency.items()]
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
            third = 0.0
            if suffix.label in _POSSESSIVES:
                third = _POSSESSIVES[suffix.label] * counts.get((state, "SH", "P3sg"), 0)
            elif suffix.label in _PERSONS and state in ("VT", "VZ"):
                third = _PERSONS[suffix.label] * counts.get((state, "", ""), 0)
            arc = (state, suffix.form, suffix.label)
            if third > counts.get(arc, 0):
                raised[arc] = third
    return raised


def _frozen(word: AnnotatedWord) -> tuple:
    return (lower(word.word), word.lemma, word.root_class, word.boundaries, word.nominal)


def _agreeing(key: tuple) -> Iterator[list[Arc]]:
    letters, lemma, root_class, boundaries, nominal = key
    for shape in stem_shapes(lemma, root_class):
        if letters.startswith(shape.letters) and not set(boundaries) & set(
            range(len(shape.letters))
        ):
            start = len(shape.letters)
            for path in _paths(letters, start, root_class, shape.end, boundaries):
                ours = nominal_of((suffix.label, suffix.kind) for suffix in path)
                if all(x in ("", y) for x, y in zip(nominal, ours, strict=True)):
                    arcs, state = [], root_class
                    for suffix in path:
                        arcs.append((state, suffix.form, suffix.label))
                        state = suffix.target
                    yield [*arcs, (state, "", "")]


def _paths(
    letters: str, start: int, state: str, end: End, boundaries: tuple[int, ...]
) -> Iterator[list[Suffix]]:
    """All ways from a place and state to the end of a word that derive at the boundaries alone."""
    if start == len(letters):
        if end.last not in ("g", "y"):
            yield []
        return
    table = shapes(state, end)
    for stop in range(start + 1, len(letters) + 1):
        if any(start < boundary < stop for boundary in boundaries):
            break
        for (suffix, _, _), after in table.get(letters[start:stop], ()):
            if (suffix.kind == "derivation") == (start in boundaries):
                for rest in _paths(letters, stop, suffix.target, after, boundaries):
                    yield [suffix, *rest]


def main() -> None:
    """Counts anew."""
    path = treebank_file("wiki")
    counts = count_arcs(annotated_words(path.read_text(encoding="utf-8"), str(path)))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("state", "form", "label", "count"))
    writer.writerows((*arc, round(count)) for arc, count in sorted(counts.items()))
    replace_file(COUNTS_FILE, table.getvalue().encode())
    print(f"{COUNTS_FILE}: {len(counts)} arcs")


if __name__ == "__main__":
    main()
