"""The longest documents of a split: where a memory has the most to remember."""

import numpy as np

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.corpus import StoredChunks
from mmrec_jax.data.packing import batch_of, segments_row
from mmrec_jax.data.token_store import TokenStore


def longest_documents(store: TokenStore, rows: int, length: int) -> Batch:
    """One document per row, the longest first, each from its beginning and cut at `length` tokens.

    Args:
      store: the split; in case of a tie its earlier document comes first.
      rows: documents, at most.
      length: tokens of each, at most.

    Returns:
      [rows, T], padded behind the ends, where T is `length` or that of the longest document; the
      segment id is 1.
    """
    documents = StoredChunks([store])
    chosen = np.argsort(-documents.lengths.astype(np.int64), kind="stable")[:rows].tolist()
    width = min(length, int(documents.lengths[chosen[0]]))
    return batch_of([segments_row([documents[each].cut(width)[0]], width) for each in chosen])
