r"""Vowel harmony as a detector of misspelt words: precision and recall, as a Markdown table.

    python -m benchmarks.harmony_detector *-ud-dev.conllu

Every distinct form of the treebanks (Universal Dependencies, CoNLL-U) is taken for right. The twin
of an inflected one has one suffix vowel on the other side of front and back, and is taken for
wrong; a vowel is one of a suffix if it stands after what form and lemma have in common, so that our
segmenter has no say in it. Forms whose twin the treebanks have as a form are left out, and those
that have little in common with their lemma. What breaks harmony by our rules is blamed:

    precision = wrong and blamed / blamed        recall = wrong and blamed / wrong
"""

import argparse
import dataclasses
import random
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.markdown import header, row
from benchmarks.segmenter import lemmas
from mmrec_jax.errors import UserError
from mmrec_jax.turkish.harmony import harmony
from mmrec_jax.turkish.letters import APOSTROPHES, FRONT, VOWELS, last_vowel, lower

CATEGORIES = ("plain", "names", "abbreviations", "numbers", "loanwords", "-ki", "circumflex")
UNINFLECTED = "uninflected"
_FLIP = dict(zip("aeıiuü", "eaiıüu", strict=True))
_KI = re.compile(r"(?:(?<=d[ae])|(?<=t[ae])|(?<=[ıiuü]n)|(?<=^))k([iü])")


@dataclasses.dataclass(frozen=True)
class Pair:
    """A form that is right and its twin that is not, "" if it has none."""

    category: str
    right: str
    wrong: str


def twins(forms: Iterable[tuple[str, str]], seed: int = 0) -> Iterator[Pair]:
    """A pair for each distinct form, given with its lemma; uninflected forms have no twin."""
    lemma_of = dict(forms)
    known = {lower(form) for form in lemma_of}
    for form, lemma in lemma_of.items():
        letters, stem = lower(form), lower(lemma)
        pairs = enumerate(zip(letters, stem, strict=False))
        begin = next((i for i, (x, y) in pairs if x != y), min(len(letters), len(stem)))
        if len(letters) != len(form) or begin < max(1, len(stem) - 2):
            continue  # irregular (`bana` of `ben`) or another word
        suffix = letters[begin:]
        if begin < len(stem) and stem[begin] in VOWELS and suffix[:1] in VOWELS:
            continue  # `ne` of `nasıl`
        places = [begin + i for i, letter in enumerate(suffix) if letter in _FLIP]
        if not places:
            if letters == stem and letters.isalpha():
                yield Pair(UNINFLECTED, form, "")
            continue
        category = _category(form, stem, suffix)
        if category == "-ki":
            places = [begin + match.start(1) for match in _KI.finditer(suffix)]
        index = random.Random(f"{seed} {form}").choice(places)
        wrong = form[:index] + _like(_FLIP[letters[index]], form[index]) + form[index + 1 :]
        if lower(wrong) not in known:
            yield Pair(category, form, wrong)


def _category(form: str, stem: str, suffix: str) -> str:
    head = re.split(f"[{APOSTROPHES}]", form)[0]
    if re.search(r"\d", form):
        return "numbers"
    if head != form and len(head) > 1 and head.isupper() and not form.isupper():
        return "abbreviations"
    if re.search("[âîû]", lower(form)):
        return "circumflex"
    if _KI.search(suffix):
        return "-ki"
    if head != form:
        return "names"
    first = next(letter for letter in suffix if letter in _FLIP)
    if last_vowel(stem) in "aou" and first in FRONT:
        return "loanwords"
    return "plain"


def _like(letter: str, example: str) -> str:
    """A lower-case letter in the case of another one."""
    if not example.isupper():
        return letter
    return "İ" if letter == "i" else letter.upper()


@dataclasses.dataclass(frozen=True)
class Detection:
    """Counts of words: right ones that are blamed, wrong ones that are, wrong ones."""

    false: int
    true: int
    wrong: int

    @property
    def precision(self) -> float:
        """The share of the blamed words that are wrong."""
        return self.true / max(1, self.true + self.false)

    @property
    def recall(self) -> float:
        """The share of the wrong words that are blamed."""
        return self.true / max(1, self.wrong)


def blamed(word: str) -> bool:
    """Whether a suffix vowel of a word is not the one that harmony wants."""
    return not all(vowel.holds for vowel in harmony(word))


def detect(pairs: Iterable[Pair]) -> Detection:
    """How the detector does on some pairs."""
    found = [(blamed(x.right), blamed(x.wrong), bool(x.wrong)) for x in pairs]
    return Detection(*(sum(column) for column in zip(*found, strict=True)))


def main() -> None:
    """Prints a row for each category and one for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", metavar="CONLLU")
    parser.add_argument("--seed", type=int, default=0, help="of the vowel that is flipped")
    parser.add_argument("--list", action="store_true", help="also print what was judged wrongly")
    options = parser.parse_args()
    try:
        forms = [pair for path in options.files for pair in lemmas(path)]
    except UserError as error:
        sys.exit(f"error: {error}")
    pairs = list(twins(forms, options.seed))
    print("\n".join(header(["forms", "right", "blamed", "wrong", "blamed", "precision", "recall"])))
    for category in ("all", *CATEGORIES, UNINFLECTED):
        chosen = [pair for pair in pairs if category in ("all", pair.category)]
        if chosen:
            found = detect(chosen)
            counts = (f"{x:,}" for x in (len(chosen), found.false, found.wrong, found.true))
            shares = (f"{x:.1%}" if found.wrong else "" for x in (found.precision, found.recall))
            print(row([category, *counts, *shares]))
    for pair in pairs if options.list else ():
        if blamed(pair.right):
            print(f"blamed\t{pair.category}\t{pair.right}")
        if pair.wrong and not blamed(pair.wrong):
            print(f"missed\t{pair.category}\t{pair.wrong}\t{pair.right}")


if __name__ == "__main__":
    main()
