"""All metrics of Turkish text at once, and the one number made of them."""

import dataclasses
from collections.abc import Sequence

from mmrec_jax.turkish.harmony_score import vowel_harmony_score
from mmrec_jax.turkish.morphology_score import morphology_preservation
from mmrec_jax.turkish.turkish_characters import turkish_char_accuracy

FORMULA = (
    "overall_turkish_score = (turkish_char_accuracy x morphology_preservation "
    "x vowel_harmony_score x chrf_plus_plus) ^ (1/4)"
)


@dataclasses.dataclass(frozen=True)
class TurkishScores:
    """Metrics of predictions against references, each in [0, 1], higher is better.

    Attributes:
      turkish_char_accuracy: letters with marks, see `turkish_characters.py`.
      morphology_preservation: suffixes, see `morphology_score.py`.
      vowel_harmony_score: of the predictions alone, see `harmony_score.py`.
      chrf_plus_plus: sacrebleu's corpus chrF++ (Popović 2017: 6-grams of letters, 2-grams of words,
        beta 2), over 100.
    """

    turkish_char_accuracy: float
    morphology_preservation: float
    vowel_harmony_score: float
    chrf_plus_plus: float

    @property
    def overall_turkish_score(self) -> float:
        """`FORMULA`: the geometric mean, so that no metric makes up for another that is at 0."""
        product = (
            self.turkish_char_accuracy
            * self.morphology_preservation
            * self.vowel_harmony_score
            * self.chrf_plus_plus
        )
        return float(product**0.25)

    def as_dict(self) -> dict[str, float]:
        """All five by name."""
        return dataclasses.asdict(self) | {"overall_turkish_score": self.overall_turkish_score}


def turkish_scores(predictions: Sequence[str], references: Sequence[str]) -> TurkishScores:
    """The metrics of some texts.

    `turkish_scores(["Evde kaldım."], ["Evde kaldım."])` is 1 in every metric.

    Args:
      predictions: texts.
      references: what each should have been.

    Raises:
      ValueError: the two are not of the same length, or empty.
      UserError: the package `turkish-treebanks` is not installed.
    """
    from sacrebleu.metrics import CHRF  # slow to import, and needed here alone

    if not predictions:
        raise ValueError("there is nothing to score")
    return TurkishScores(
        turkish_char_accuracy=turkish_char_accuracy(predictions, references),
        morphology_preservation=morphology_preservation(predictions, references),
        vowel_harmony_score=vowel_harmony_score(predictions),
        chrf_plus_plus=CHRF(word_order=2).corpus_score(predictions, [references]).score / 100,
    )
