"""Epochs in which the chunks of some documents come more often than those of others."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.chunks import Chunks, Window
from mmrec_jax.data.seeds import hashed_seed


@dataclasses.dataclass(frozen=True)
class Guidance:
    """What `train/memory_guided.py` has measured."""

    rounds: int  # how often
    weights: Mapping[int, float]  # of documents that were measured, by their number in all stores
    least: int  # tokens of a chunk above which its document can be measured; others weigh 1

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """From its fields as JSON has them, where all keys are strings."""
        weights = {int(document): weight for document, weight in plain["weights"].items()}
        return cls(plain["rounds"], weights, plain["least"])


def documents_of(chunks: Chunks) -> NDArray[np.int64]:
    """The number of each chunk's document."""
    return np.cumsum(chunks.begins) - 1


class GuidedChunks:
    """Chunks, each as often as its document's weight says: the mean over tokens is once an epoch.

    What is left of a whole number is chance, another one after each measurement. A random-access
    source of grain.
    """

    def __init__(self, chunks: Chunks, guidance: Guidance, first: int, seed: int) -> None:
        """`first` is the number of the first document among all."""
        documents = first + documents_of(chunks)
        # Of a document that may be measured and was not, what the others have in the mean.
        unknown = float(np.mean(list(guidance.weights.values())))
        long = np.unique(documents[chunks.lengths > guidance.least])
        weights = np.ones(int(documents[-1]) + 1)
        weights[long] = [guidance.weights.get(document, unknown) for document in long.tolist()]
        own = weights[documents]
        times = own / np.average(own, weights=chunks.lengths)
        rng = np.random.default_rng(hashed_seed("guided", seed, first, guidance.rounds))
        copies = np.floor(times + rng.random(len(chunks))).astype(np.int64)
        self._chunks, self._index = chunks, np.repeat(np.arange(len(chunks)), copies)
        self.lengths: NDArray[np.int32] = chunks.lengths[self._index]  # targets of each

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Window:
        return self._chunks[int(self._index[index])]
