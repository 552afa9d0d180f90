"""`morphology_preservation`: whether a text has the suffixes of its reference, in their order."""

from collections.abc import Sequence

from mmrec_jax.turkish.segmenter import segment
from mmrec_jax.turkish.words import words

# The labels of a word's suffixes; never empty.
_Sequence = tuple[str, ...]


def morphology_preservation(predictions: Sequence[str], references: Sequence[str]) -> float:
    """F1 of the suffix sequences that prediction and reference share, in the order of the text.

    The suffix sequence of a word is the labels that `segment` gives its suffixes; words without
    suffixes are left out. With L the length of the longest common subsequence of the two lists of
    sequences, summed over all pairs of texts: 2 L / (sequences predicted + sequences referred to).

    `morphology_preservation(["evlerde kaldı"], ["köylerde kaldım"])`: the sequences are
    (A3pl, Loc), (Past) and (A3pl, Loc), (Past, V1sg); L = 1, so it is 2 / (2 + 2) = 0.5.

    Args:
      predictions: texts.
      references: what each should have been.

    Returns:
      A number in [0, 1]; 1 where neither side has a word with suffixes.

    Raises:
      ValueError: the two are not of the same length.
      UserError: the package `turkish-treebanks` is not installed.
    """
    shared = total = 0
    for prediction, reference in zip(predictions, references, strict=True):
        ours, theirs = suffix_sequences(reference), suffix_sequences(prediction)
        shared += _common(ours, theirs)
        total += len(ours) + len(theirs)
    return 2 * shared / total if total else 1.0


def suffix_sequences(text: str) -> list[_Sequence]:
    """The labels of the suffixes of each word that has some."""
    labels = (tuple(morph.label for morph in segment(word).suffixes) for word in words(text))
    return [sequence for sequence in labels if sequence]


def _common(a: list[_Sequence], b: list[_Sequence]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for place, y in enumerate(b, 1):
            above = row[place]
            row[place] = before + 1 if x == y else max(above, row[place - 1])
            before = above
    return row[-1]
