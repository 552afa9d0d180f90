"""Metrics of Turkish text against references, and the one number made of them."""

import difflib
import itertools
import math
import unicodedata
from collections.abc import Iterator, Sequence

from mmrec_jax.turkish.harmony import vowel_harmony_score
from mmrec_jax.turkish.letters import words
from mmrec_jax.turkish.segmenter import segment

FORMULA = (
    "overall_turkish_score = (turkish_char_accuracy x morphology_preservation "
    "x vowel_harmony_score x chrf_plus_plus) ^ (1/4)"
)
_TURKISH_LETTERS = frozenset("çğıİöşüÇĞÖŞÜ")
_PLAIN = str.maketrans("çğıİöşüÇĞIÖŞÜâîûÂÎÛ", "cgiiosucgiosuaiuaiu")


def turkish_scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The metrics of some texts, each compared with its reference: in [0, 1], higher is better.

    `vowel_harmony_score` is that of the predictions alone; `chrf_plus_plus` is sacrebleu's corpus
    chrF++ (Popović 2017: 6-grams of letters, 2-grams of words, beta 2), over 100;
    `overall_turkish_score` is the geometric mean of the others, so that none makes up for one that
    is 0.

    Raises:
      ValueError: the two are not of the same length, or are empty.
      UserError: the package `turkish-treebanks` is not installed.
    """
    from sacrebleu.metrics import CHRF  # slow to import, and needed here alone

    if not predictions:
        raise ValueError("there is nothing to score")
    scores = {
        "turkish_char_accuracy": turkish_char_accuracy(predictions, references),
        "morphology_preservation": morphology_preservation(predictions, references),
        "vowel_harmony_score": vowel_harmony_score(predictions),
        "chrf_plus_plus": CHRF(word_order=2).corpus_score(predictions, [references]).score / 100,
    }
    return scores | {"overall_turkish_score": math.prod(scores.values()) ** 0.25}


def turkish_char_accuracy(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Kept / (kept + lost + invented), over the letters ç ğ ı İ ö ş ü and their capitals.

    Each pair of texts is aligned by its letters without marks and case (a longest matching
    alignment, words first). A Turkish letter of the reference is *kept* if it is aligned with the
    same letter of the prediction, else *lost*; one of the prediction that is aligned with another
    letter, or with none, is *invented*.

    `turkish_char_accuracy(["cay içtiğim"], ["çay içtiğim"])`: ç and ğ of `içtiğim` are kept, ç of
    `çay` is lost: 2/3. For "ışık" against "isik" it is 0, and for "isik" against "ışık" too. It is
    1 if neither side has such a letter.
    """
    kept = lost = invented = 0
    for prediction, reference in zip(predictions, references, strict=True):
        prediction = unicodedata.normalize("NFC", prediction)
        reference = unicodedata.normalize("NFC", reference)
        same = {(i, j) for i, j in _aligned(prediction, reference) if prediction[i] == reference[j]}
        right = sum(reference[j] in _TURKISH_LETTERS for _, j in same)
        kept += right
        lost += sum(letter in _TURKISH_LETTERS for letter in reference) - right
        invented += sum(letter in _TURKISH_LETTERS for letter in prediction) - right
    total = kept + lost + invented
    return kept / total if total else 1.0


def _aligned(prediction: str, reference: str) -> Iterator[tuple[int, int]]:
    """Indices into the prediction with those of the reference that they are aligned with."""
    ours, theirs = _plain_words(prediction), _plain_words(reference)
    matcher = difflib.SequenceMatcher(
        None, [text for _, text in ours], [text for _, text in theirs], autojunk=False
    )
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            for (i, text), (j, _) in zip(ours[a:b], theirs[c:d], strict=True):
                yield from ((i + k, j + k) for k in range(len(text)))
        elif kind == "replace":
            i, j = ours[a][0], theirs[c][0]
            left = "".join(text for _, text in ours[a:b])
            right = "".join(text for _, text in theirs[c:d])
            inner = difflib.SequenceMatcher(None, left, right, autojunk=False)
            for block in inner.get_matching_blocks():
                yield from ((i + block.a + k, j + block.b + k) for k in range(block.size))


def _plain_words(text: str) -> list[tuple[int, str]]:
    """Words and what is between them, without marks and case, each with its start."""
    plain = text.translate(_PLAIN)
    plain = "".join(x.lower() if len(x.lower()) == 1 else x for x in plain)
    runs = itertools.groupby(enumerate(plain), key=lambda each: each[1].isalnum())
    parts = (list(run) for _, run in runs)
    return [(part[0][0], "".join(letter for _, letter in part)) for part in parts]


def morphology_preservation(predictions: Sequence[str], references: Sequence[str]) -> float:
    """F1 of the suffix sequences that prediction and reference share, in text order.

    The suffix sequence of a word is the labels that `segment` gives its suffixes; words without
    suffixes are left out. With L the length of the longest common subsequence of the two lists of
    sequences, summed over all pairs of texts: 2 L / (sequences predicted + sequences expected).

    `morphology_preservation(["evlerde kaldı"], ["köylerde kaldım"])`: the sequences are
    (A3pl, Loc), (Past) and (A3pl, Loc), (Past, V1sg); L = 1, so it is 2 / (2 + 2) = 0.5. It is 1 if
    neither side has a word with suffixes.
    """
    shared = total = 0
    for prediction, reference in zip(predictions, references, strict=True):
        ours, theirs = suffix_sequences(prediction), suffix_sequences(reference)
        shared += _longest_common_subsequence(ours, theirs)
        total += len(ours) + len(theirs)
    return 2 * shared / total if total else 1.0


def suffix_sequences(text: str) -> list[tuple[str, ...]]:
    """The labels of the suffixes of each word that has some."""
    labels = (tuple(morph.label for morph in segment(word).suffixes) for word in words(text))
    return [sequence for sequence in labels if sequence]


def _longest_common_subsequence(a: Sequence[object], b: Sequence[object]) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b, 1):
            above = row[j]
            row[j] = diagonal + 1 if x == y else max(above, row[j - 1])
            diagonal = above
    return row[-1]
