"""The longest documents of a split: where a memory has the most to remember."""

import numpy as np

from mmrec_jax.data.batch import Batch, empty_batch
from mmrec_jax.data.token_store import TokenStore


def longest_documents(store: TokenStore, rows: int, length: int) -> Batch:
    """One document a row, the longest first, each from its beginning and cut at `length` tokens.

    Args:
      store: the split; in case of a tie its earlier document comes first.
      rows: documents, at most.
      length: tokens of each, at most.

    Returns:
      [rows, T], padded behind the ends, where T is `length` or that of the longest document; the
      segment id is 1.
    """
    pairs = np.diff(store.offsets) - 1
    chosen = np.argsort(-pairs, kind="stable")[:rows]
    batch = empty_batch(len(chosen), min(length, int(pairs[chosen[0]])))
    for row, document in enumerate(chosen):
        start, count = int(store.offsets[document]), min(length, int(pairs[document]))
        batch["inputs"][row, :count] = store.tokens[start : start + count]
        batch["targets"][row, :count] = store.tokens[start + 1 : start + 1 + count]
        batch["segment_ids"][row, :count] = 1
        batch["weights"][row, :count] = store.target_weights(slice(start + 1, start + 1 + count))
    return batch
