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
    """

    tokens: int = 0
    weight: float = 0.0
    nats: float = 0.0
    answers: int = 0
    right: int = 0

    def add(self, batch: Batch, predicted: Mapping[str, np.ndarray]) -> None:
        """Adds a batch and what the evaluation step said of it, each [B, T]."""
        counts = batch["weights"] > 0
        weights = batch["weights"][counts].astype(np.float64)
        self.tokens += int(np.count_nonzero(batch["segment_ids"]))
        self.weight += float(weights.sum())
        self.nats += float(np.dot(weights, predicted["nats"][counts]))
        self.answers += len(weights)
        self.right += int(np.count_nonzero(predicted["right"][counts]))

    def include(self, other: "Tally") -> None:
        """Adds what `other` has added up."""
        for field in dataclasses.fields(self):
            total = getattr(self, field.name) + getattr(other, field.name)
            setattr(self, field.name, total)

    @property
    def loss(self) -> float:
        """Nats per unit of weight."""
        return self.nats / self.weight
