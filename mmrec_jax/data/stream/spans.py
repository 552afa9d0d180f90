"""The rows of a piece, put together of spans of documents."""

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import DTYPES, Batch


class Spans:
    """Takes spans of documents, row after row, and joins all of them at once."""

    def __init__(self) -> None:
        """Without a span."""
        self._inputs: list[NDArray[np.integer]] = []
        self._targets: list[NDArray[np.integer]] = []
        self._segments: list[int] = []
        self._lengths: list[int] = []

    def add(self, tokens: NDArray[np.integer], start: int, length: int, segment: int) -> None:
        """What follows in the row: `length` pairs of a document, from its pair `start` on.

        Args:
          tokens: of the document, of a type that int32 holds.
          start: the place of the first input; the first target is the next one.
          length: at least 1.
          segment: the id.
        """
        stop = start + length
        self._inputs.append(tokens[start:stop])
        self._targets.append(tokens[start + 1 : stop + 1])
        self._segments.append(segment)
        self._lengths.append(length)

    def rows(self, seq_len: int) -> Batch:
        """`inputs`, `targets` and `segment_ids`, [rows, T]."""
        segments = np.array(self._segments, DTYPES["segment_ids"])
        return {
            "inputs": np.concatenate(self._inputs, dtype=DTYPES["inputs"]).reshape(-1, seq_len),
            "targets": np.concatenate(self._targets, dtype=DTYPES["targets"]).reshape(-1, seq_len),
            "segment_ids": segments.repeat(self._lengths).reshape(-1, seq_len),
        }
