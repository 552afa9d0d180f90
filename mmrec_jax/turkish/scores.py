"""Metrics of Turkish text against references, and the one number made of them."""

import itertools
import math
from collections.abc import Iterator, Sequence

from mmrec_jax.errors import UserError
from mmrec_jax.turkish.harmony import vowel_harmony_score
from mmrec_jax.turkish.letters import normalise, words
from mmrec_jax.turkish.segmenter import segment

FORMULA = (
    "overall_turkish_score = (turkish_char_accuracy x morphology_preservation "
    "x vowel_harmony_score x chrf_plus_plus) ^ (1/4)"
)
# Comparing two texts takes time and memory in proportion to the product of their lengths.
LONGEST_TEXT = 1 << 15  # characters
_TURKISH_LETTERS = frozenset("çğıİöşüÇĞÖŞÜ")
_PLAIN = str.maketrans("çğıİöşüÇĞIÖŞÜâîûÂÎÛ", "cgiiosucgiosuaiuaiu")


def turkish_scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """The metrics of some texts, each compared with its reference: in [0, 1], higher is better.

    `vowel_harmony_score` is that of the predictions alone; `chrf_plus_plus` is sacrebleu's corpus
    chrF++ (Popović 2017: 6-grams of letters, 2-grams of words, beta 2), over 100;
    `overall_turkish_score` is the geometric mean of the others, so that none makes up for one that
    is 0. All are 0 if words were expected and none was written.

    Raises:
      ValueError: the two are not of the same length, or are empty.
      UserError: a text has more than `LONGEST_TEXT` characters, or the package
        `turkish-treebanks` is not installed.
    """
    from sacrebleu.metrics import CHRF  # slow to import, and needed here alone

    if not predictions:
        raise ValueError("there is nothing to score")
    predictions = [normalise(text) for text in predictions]
    references = [normalise(text) for text in references]
    silent = not any(map(words, predictions)) and any(map(words, references))
    scores = {
        "turkish_char_accuracy": turkish_char_accuracy(predictions, references),
        "morphology_preservation": morphology_preservation(predictions, references),
        "vowel_harmony_score": 0.0 if silent else vowel_harmony_score(predictions),
        "chrf_plus_plus": CHRF(word_order=2).corpus_score(predictions, [references]).score / 100,
    }
    return scores | {"overall_turkish_score": math.prod(scores.values()) ** 0.25}


def turkish_char_accuracy(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Kept / (kept + lost + invented), over the letters ç ğ ı İ ö ş ü and their capitals.

    Each pair of texts is aligned by its letters without marks and case (a longest common
    subsequence, words first). A Turkish letter of the reference is *kept* if it is aligned with the
    same letter of the prediction, else *lost*; one of the prediction that is aligned with another
    letter, or with none, is *invented*.

    `turkish_char_accuracy(["cay içtiğim"], ["çay içtiğim"])`: ç and ğ of `içtiğim` are kept, ç of
    `çay` is lost: 2/3. For "ışık" against "isik" it is 0, and for "isik" against "ışık" too. It is
    1 if neither side has such a letter. Raises a `UserError` as `turkish_scores`.
    """
    kept = lost = invented = 0
    for prediction, reference in _pairs(predictions, references):
        same = {(i, j) for i, j in _aligned(prediction, reference) if prediction[i] == reference[j]}
        right = sum(reference[j] in _TURKISH_LETTERS for _, j in same)
        kept += right
        lost += sum(letter in _TURKISH_LETTERS for letter in reference) - right
        invented += sum(letter in _TURKISH_LETTERS for letter in prediction) - right
    total = kept + lost + invented
    return kept / total if total else 1.0


def _pairs(predictions: Sequence[str], references: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each prediction with its reference, normalised; refuses what would take too long to align."""
    for number, pair in enumerate(zip(predictions, references, strict=True), 1):
        longest = max(map(len, pair))
        if longest > LONGEST_TEXT:
            raise UserError(
                f"text {number} has {longest:,} characters; at most {LONGEST_TEXT:,} are compared: "
                "split it, and its partner likewise"
            )
        yield normalise(pair[0]), normalise(pair[1])


def _aligned(prediction: str, reference: str) -> Iterator[tuple[int, int]]:
    """Indices into the prediction with those of the reference that they are aligned with."""
    ours, theirs = _plain_words(prediction), _plain_words(reference)
    same = common_subsequence([text for _, text in ours], [text for _, text in theirs])
    a = c = 0
    for b, d in [*same, (len(ours), len(theirs))]:
        if a < b and c < d:  # words that differ, between two that are the same
            left = "".join(text for _, text in ours[a:b])
            right = "".join(text for _, text in theirs[c:d])
            i, j = ours[a][0], theirs[c][0]
            yield from ((i + k, j + m) for k, m in common_subsequence(left, right))
        if b < len(ours):
            (i, text), (j, _) = ours[b], theirs[d]
            yield from ((i + k, j + k) for k in range(len(text)))
        a, c = b + 1, d + 1


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
    neither side has a word with suffixes. Raises as `turkish_scores`.
    """
    shared = total = 0
    for prediction, reference in _pairs(predictions, references):
        ours, theirs = suffix_sequences(prediction), suffix_sequences(reference)
        shared += len(common_subsequence(ours, theirs))
        total += len(ours) + len(theirs)
    return 2 * shared / total if total else 1.0


def suffix_sequences(text: str) -> list[tuple[str, ...]]:
    """The labels of the suffixes of each word that has some."""
    labels = (tuple(morph.label for morph in segment(word).suffixes) for word in words(text))
    return [sequence for sequence in labels if sequence]


def common_subsequence(a: Sequence[object], b: Sequence[object]) -> list[tuple[int, int]]:
    """The pairs of indices of a longest common subsequence, in order; items are hashable.

    `common_subsequence("abcd", "xbd") == [(1, 1), (3, 2)]`. Bit i of a row stands for item i of `a`
    and is 0 where the subsequence grows (Hyyrö 2004, "Bit-parallel LCS-length computation
    revisited"): two texts of n items take n operations on integers of n bits, and n² / 8 bytes.
    """
    everything = (1 << len(a)) - 1
    masks: dict[object, int] = {}
    for i, x in enumerate(a):
        masks[x] = masks.get(x, 0) | 1 << i
    rows = [everything]
    for x in b:
        row = rows[-1]
        common = row & masks.get(x, 0)
        rows.append(((row + common) | (row - common)) & everything)
    pairs, i, j = [], len(a), len(b)
    while i and j:
        if rows[j] >> (i - 1) & 1:
            i -= 1
        elif rows[j - 1] >> (i - 1) & 1:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        else:
            j -= 1
    return pairs[::-1]
