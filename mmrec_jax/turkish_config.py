"""The part of the config that is about Turkish text: `config.turkish`."""

import dataclasses

from mmrec_jax.config_check import require


@dataclasses.dataclass(frozen=True)
class TurkishConfig:
    """What training and evaluation know of the language. All off by default."""

    # Weight of the vowel_harmony objective (objectives/vowel_harmony.py) beside the loss, which is
    # in nats/token; the objective is a probability. 0: measured and logged, not trained on.
    # None: off.
    vowel_harmony: float | None = None
    # Weight in the loss of a token that lies behind the root of a word, by the segmenter
    # (`turkish/segmenter.py`); every other token has 1. Evaluation has no weights.
    suffix_weight: float = 1.0
    # At each evaluation so many beginnings of validation documents are continued, and scored
    # against the documents (`turkish/scores.py`). 0: none.
    scored_samples: int = 0

    def __post_init__(self) -> None:
        require(
            self.vowel_harmony is None or self.vowel_harmony >= 0,
            "turkish.vowel_harmony",
            self.vowel_harmony,
            "at least 0, or None",
        )
        require(self.suffix_weight > 0, "turkish.suffix_weight", self.suffix_weight, "above 0")
        require(
            self.scored_samples >= 0, "turkish.scored_samples", self.scored_samples, "at least 0"
        )
