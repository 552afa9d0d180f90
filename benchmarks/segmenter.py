r"""Measures the Turkish segmenter and the phonology on gold files, and prints a Markdown table.

    python -m benchmarks.segmenter --ud *-ud-dev.conllu --sigmorphon sigmorphon*-dev.tsv \
        --phonology phonology-*.tsv

Boundaries, nouns and speed are those of a file in the scheme of the Turkish Web Treebank, by
default its web part: the segmenter's rules and counts come from the wiki part.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterable, Sequence, Sized
from pathlib import Path

from benchmarks.markdown import header, row
from mmrec_jax.data.treebank import Word, treebank_file
from mmrec_jax.errors import UserError
from mmrec_jax.turkish.counts import annotated_nominal, words_with_letters
from mmrec_jax.turkish.harmony import harmony
from mmrec_jax.turkish.letters import lower, words
from mmrec_jax.turkish.phonology import RULES, apply_rules
from mmrec_jax.turkish.segmenter import segment, treebank_segmenter


def main() -> None:
    """Measures what the arguments name, the speed first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--web", type=Path, metavar="CONLLU")
    parser.add_argument("--ud", type=Path, nargs="*", default=[], metavar="CONLLU")
    parser.add_argument("--sigmorphon", type=Path, nargs="*", default=[], metavar="TSV")
    parser.add_argument("--phonology", type=Path, nargs="*", default=[], metavar="TSV")
    options = parser.parse_args()
    print("\n".join(header(["what", "result"])))
    try:
        _print_web(options.web or treebank_file("web"))
        for path in options.ud:
            pairs = lemmas(path)
            print(row([f"lemma, {path.stem}, {len(pairs):,} words", f"{lemma_share(pairs):.1%}"]))
        for path in options.phonology:
            rule, pairs = rule_pairs(path)
            share = 1 - len(misspelt(rule, pairs)) / len(pairs)
            print(row([f"rule `{rule}`, {len(pairs):,} forms", f"{share:.1%}"]))
        for path in options.sigmorphon:
            forms = inflected_forms(path)
            broken = sorted(inharmonic(forms))
            named = f"{len(broken)}: {', '.join(broken)}" if len(broken) < 10 else str(len(broken))
            print(row([f"breaks of harmony, {path.stem}, {len(forms):,} words", named]))
    except UserError as error:
        sys.exit(f"error: {error}")


def _print_web(path: Path) -> None:
    words = list(words_with_letters(read(path), str(path)))
    running, distinct = words_per_second([word.form for word in words])
    score, nouns = derivations(words), nouns_of(words)
    if not score.gold or not nouns:
        raise UserError(f"{path}: no derivations and nouns as the Turkish Web Treebank marks them")
    together, *alone = nominal_shares(nouns)
    found = f"F1 {score.f1:.3f} (precision {score.precision:.3f}, recall {score.recall:.3f})"
    print(row([f"derivational boundaries, {len(words):,} words", found]))
    shares = ", ".join(f"{share:.1%}" for share in alone)
    print(
        row(
            [
                f"number, possessive and case together, {len(nouns):,} nouns",
                f"{together:.1%} (alone: {shares})",
            ]
        )
    )
    speed = f"{running:,.0f} ({distinct:,.0f} distinct ones)"
    print(row(["words/s of processor time, nothing cached at first", speed]))


@dataclasses.dataclass(frozen=True)
class DerivationScore:
    """Counts of derivational boundaries over running words: ours, the annotation's, common ones."""

    ours: int
    gold: int
    both: int

    @property
    def precision(self) -> float:
        """The share of ours that are annotated."""
        return self.both / self.ours

    @property
    def recall(self) -> float:
        """The share of the annotated ones that are ours."""
        return self.both / self.gold

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        return 2 * self.both / (self.ours + self.gold)


def derivations(words: Iterable[Word]) -> DerivationScore:
    """Compares the derivational boundaries of some words with their annotation."""
    ours = gold = both = 0
    for word in words:
        found = set(segment(word.form).boundaries("derivation"))
        ours += len(found)
        gold += len(word.boundaries)
        both += len(found & set(word.boundaries))
    return DerivationScore(ours, gold, both)


def nouns_of(words: Iterable[Word]) -> list[Word]:
    """The words whose last group is a noun."""
    return [word for word in words if word.part == "NOUN"]


def nominal_shares(nouns: Sequence[Word]) -> tuple[float, float, float, float]:
    """Of how many nouns number, possessive and case are all right, and each of them alone."""
    pairs = [(segment(word.form).nominal, annotated_nominal(word)) for word in nouns]
    together = sum(ours == gold for ours, gold in pairs)
    number, possessive, case = (
        sum(ours[part] == gold[part] for ours, gold in pairs) / len(nouns) for part in range(3)
    )
    return together / len(nouns), number, possessive, case


def lemma_share(lemmas: Sequence[tuple[str, str]]) -> float:
    """The share of (word, lemma) whose dictionary form is the lemma, in lower case."""
    right = sum(segment(word).dictionary_form == lower(lemma) for word, lemma in lemmas)
    return right / len(lemmas)


def words_per_second(words: Sequence[str]) -> tuple[float, float]:
    """Running and distinct words segmented in a second of processor time, the lexicon in memory.

    A word that comes again is remembered. To be called before any other measure, while nothing is.
    """
    segmenter = treebank_segmenter()
    begin = time.process_time()
    for word in words:
        segmenter.segment(word)
    seconds = time.process_time() - begin
    return len(words) / seconds, len(set(words)) / seconds


def misspelt(rule: str, pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """The (lexical form, what a rule makes of it) that ours does not, with what ours makes."""
    made = ((lexical, gold, apply_rules(lexical, [rule])) for lexical, gold in pairs)
    return [(lexical, gold, ours) for lexical, gold, ours in made if ours != gold]


def inharmonic(words: Iterable[str]) -> set[str]:
    """The words that break vowel harmony by our rules."""
    return {word for word in words if not all(vowel.holds for vowel in harmony(word))}


_PHONOLOGY = "phonology-"


def lemmas(conllu: Path) -> list[tuple[str, str]]:
    """(word, lemma) of the rows of Universal Dependencies that have a letter and a lemma."""
    found = []
    for number, word, lemma, *_ in _rows(conllu, 10):
        if number.isdigit() and lemma != "_" and any(letter.isalpha() for letter in word):
            found.append((word, lemma))
    _refuse_none(conllu, found)
    return found


def rule_pairs(path: Path) -> tuple[str, list[tuple[str, str]]]:
    """The rule after which `phonology-RULE.tsv` is named, and its (form, form after the rule).

    The files are tests of Google's Turkish morphology: a name, a form, what the rule makes of it.
    """
    rule = path.stem.removeprefix(_PHONOLOGY)
    if rule not in RULES:
        raise UserError(f"{path}: its name is not {_PHONOLOGY}RULE.tsv, RULE one of {list(RULES)}")
    pairs = [(form, made) for _, form, made in _rows(path, 3)]
    _refuse_none(path, pairs)
    return rule, pairs


def inflected_forms(path: Path) -> list[str]:
    """The distinct words of the forms of a SIGMORPHON file, in lower case.

    Its columns are lemma, form and features (2018) or lemma, features and form (2023). Features
    have semicolons, forms have none.
    """
    found: dict[str, None] = {}
    for _, first, second in _rows(path, 3):
        form = second if ";" in first else first
        found.update(dict.fromkeys(words(lower(form))))
    _refuse_none(path, found)
    return list(found)


def read(path: Path) -> str:
    """The text of a file, or a `UserError`."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None


def _rows(path: Path, columns: int) -> list[list[str]]:
    rows = []
    for number, line in enumerate(read(path).split("\n"), 1):
        if line and not line.startswith("#"):
            row = line.split("\t")
            if len(row) != columns:
                raise UserError(f"{path}:{number}: {len(row)} columns instead of {columns}")
            rows.append(row)
    return rows


def _refuse_none(path: Path, found: Sized) -> None:
    if not found:
        raise UserError(f"{path}: there are no words in this file")


if __name__ == "__main__":
    main()
