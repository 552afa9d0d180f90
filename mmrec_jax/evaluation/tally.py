"""What an evaluation adds up, in float64 on the host."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from mmrec_jax.data.batch import Batch


@dataclasses.dataclass
class Tally:
    """Sums over the tokens of some batches.

    Attributes:
      tokens: read, padding not counted.
      weight: sum of all weights.
      nats: sum of weight x nats.
      answers: targets whose weight is above 0.
      right: those of them that were the most likely token.
      counted: places of the `vowel_harmony` objective, where it was measured.
      vowel_harmony: its sum over them.
      word_continuing: the sum of the probability that the word goes on, over them.
    """

    tokens: int = 0
    weight: float = 0.0
    nats: float = 0.0
    answers: int = 0
    right: int = 0
    counted: int = 0
    vowel_harmony: float = 0.0
    word_continuing: float = 0.0

    def add(self, batch: Batch, predicted: Mapping[str, np.ndarray]) -> None:
        """Adds a batch and what the evaluation step said of it, each [B, T]."""
        counts = batch["weights"] > 0
        weights = batch["weights"][counts].astype(np.float64)
        self.tokens += int(np.count_nonzero(batch["segment_ids"]))
        self.weight += float(weights.sum())
        self.nats += float(np.dot(weights, predicted["nats"][counts]))
        self.answers += len(weights)
        self.right += int(np.count_nonzero(predicted["right"][counts]))
        if "counted" in predicted:
            self.counted += int(np.count_nonzero(predicted["counted"]))
            self.vowel_harmony += float(predicted["vowel_harmony"].sum(dtype=np.float64))
            self.word_continuing += float(predicted["word_continuing"].sum(dtype=np.float64))

    def include(self, other: "Tally") -> None:
        """Adds what `other` has added up."""
        for field in dataclasses.fields(self):
            total = getattr(self, field.name) + getattr(other, field.name)
            setattr(self, field.name, total)

    @property
    def loss(self) -> float:
        """Nats per unit of weight."""
        return self.nats / self.weight
