r"""Measures the Turkish segmenter and the phonology on gold files, and prints a Markdown table.

    python -m benchmarks.segmenter --ud *-ud-dev.conllu --sigmorphon sigmorphon*-dev.tsv \
        --phonology phonology-*.tsv

Boundaries, nouns and speed are those of a file in the scheme of the Turkish Web Treebank, by
default its web part: the segmenter's rules and counts come from the wiki part.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.gold_morphology import inflected_forms, lemmas, read, rule_pairs
from benchmarks.markdown import header, row
from benchmarks.segmenter_measures import (
    derivations,
    inharmonic,
    lemma_share,
    misspelt,
    nominal_shares,
    nouns_of,
    words_per_second,
)
from mmrec_jax.data.treebank import treebank_file
from mmrec_jax.errors import UserError
from mmrec_jax.turkish.counts import annotated_words


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
            rule, forms = rule_pairs(path)
            share = 1 - len(misspelt(rule, forms)) / len(forms)
            print(row([f"rule `{rule}`, {len(forms):,} forms", f"{share:.1%}"]))
        for path in options.sigmorphon:
            words = inflected_forms(path)
            broken = sorted(inharmonic(words))
            named = f"{len(broken)}: {', '.join(broken)}" if len(broken) < 10 else str(len(broken))
            print(row([f"breaks of harmony, {path.stem}, {len(words):,} words", named]))
    except UserError as error:
        sys.exit(f"error: {error}")


def _print_web(path: Path) -> None:
    words = list(annotated_words(read(path), str(path)))
    running, distinct = words_per_second([word.word for word in words])
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


if __name__ == "__main__":
    main()
