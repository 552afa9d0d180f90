"""The longest documents of a split: where a memory has the most to remember."""

import numpy as np

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.corpus import Chunks
from mmrec_jax.data.packing import batch_of, segments_row


def longest_documents(chunks: Chunks, rows: int, length: int) -> Batch:
    """One document per row, the longest first, each from its beginning and cut at `length` tokens.

    Args:
      chunks: whole documents, or parts of them, of which those count that begin one; in case of a
        tie the earlier one comes first.
      rows: documents, at most.
      length: tokens of each, at most.

    Returns:
      [rows, T], padded behind the ends, where T is `length` or that of the longest document; the
      segment id is 1.
    """
    documents = np.flatnonzero(chunks.begins)
    order = np.argsort(-chunks.lengths[documents].astype(np.int64), kind="stable")
    longest = [chunks[each].cut(length)[0] for each in documents[order[:rows]].tolist()]
    width = max(window.length for window in longest)
    return batch_of([segments_row([window], width) for window in longest])
