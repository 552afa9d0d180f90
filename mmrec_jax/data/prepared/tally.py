"""What became of the documents, counted source by source."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.prepared.encoded_chunk import HISTOGRAM, EncodedChunk, length_histogram

# Why a document is left out. Those read are those kept ("train", "validation") and these.
REASONS = (
    "refused",
    "empty",
    "too_short",
    "too_long",
    "language",
    "exact_duplicate",
    "near_duplicate",
)
KEPT = ("train", "validation")


class SourceTally:
    """The counts of one source.

    Attributes:
      counts: documents "read", kept in each split (`KEPT`) and left out for each of `REASONS`;
        those "composed" (made NFC) and "cleaned" of "control_characters"; and of each split
        `train_tokens`, `train_bytes`, `train_characters`, ..., begin and end tokens included.
      read_lengths: int64 [HISTOGRAM], documents read by characters.
      kept_lengths: the same of those kept.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        """Begins where a `record` was taken; an empty one: at zero."""
        self.counts: Counter[str] = Counter(record.get("counts", {}))
        zeros = [0] * HISTOGRAM
        self.read_lengths = np.array(record.get("read_lengths", zeros), np.int64)
        self.kept_lengths = np.array(record.get("kept_lengths", zeros), np.int64)

    def add_read(self, encoded: EncodedChunk) -> None:
        """Counts what a chunk held, but for what became of the documents in it."""
        self.counts.update(encoded.counts)
        self.read_lengths += encoded.read_lengths

    def add_kept(self, split: str, documents: NDArray[np.int64]) -> None:
        """Counts documents [n, 3] (`EncodedChunk.documents`) of a split."""
        tokens, num_bytes, characters = documents.sum(axis=0).tolist()
        self.counts.update(
            {
                split: len(documents),
                f"{split}_tokens": tokens,
                f"{split}_bytes": num_bytes,
                f"{split}_characters": characters,
            }
        )
        self.kept_lengths += length_histogram(documents[:, 2])

    def add_left_out(self, reasons: Sequence[str]) -> None:
        """Counts documents by why they were left out."""
        self.counts.update(reasons)

    def record(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        counts = {name: self.counts[name] for name in sorted(+self.counts)}
        return {
            "counts": counts,
            "read_lengths": self.read_lengths.tolist(),
            "kept_lengths": self.kept_lengths.tolist(),
        }


def total_counts(records: Iterable[dict[str, Any]]) -> Counter[str]:
    """The counts of all sources together, from their `SourceTally.record`."""
    total: Counter[str] = Counter()
    for record in records:
        total.update(record["counts"])
    return total
