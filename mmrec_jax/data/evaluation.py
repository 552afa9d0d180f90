"""A split laid out so that every token is predicted exactly once."""

import heapq
from collections.abc import Iterator

import numpy as np

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.corpus import StoredChunks
from mmrec_jax.data.packing import ROW_DTYPE, batch_of, one_segment, pack, segments_row
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError

# Windows that are packed together.
_GROUP = 4096


def evaluation_batches(
    store: TokenStore, batch_size: int, seq_len: int, *, carry: bool
) -> Iterator[Batch]:
    """One pass over a split, as batches [batch_size, seq_len].

    Without `carry`, the windows are those of training; each begins from the zero state. With it,
    the documents are dealt to the batch rows, about as many tokens to each: row b of a batch
    continues row b of the batch before, so the caller hands the model's state on. The segment id is
    then the number of the document, from 1. Padding stands only behind the last document of a row.

    Raises:
      UserError: the split is empty.
    """
    if not store.num_pairs:
        raise UserError("the corpus is empty: there is nothing to evaluate")
    return _carried(store, batch_size, seq_len) if carry else _packed(store, batch_size, seq_len)


def _packed(store: TokenStore, batch_size: int, seq_len: int) -> Iterator[Batch]:
    windows = StoredChunks([store], seq_len)
    for first in range(0, len(windows), _GROUP):
        rows = pack(windows.lengths[first : first + _GROUP], seq_len)
        for start in range(0, len(rows), batch_size):
            filled = [
                segments_row([windows[first + window] for window in row], seq_len)
                for row in rows[start : start + batch_size]
            ]
            padding = [np.zeros(seq_len, ROW_DTYPE)] * (batch_size - len(filled))
            yield batch_of(filled + padding)


def _carried(store: TokenStore, batch_size: int, seq_len: int) -> Iterator[Batch]:
    documents = StoredChunks([store])
    rows = [
        np.concatenate(
            [np.empty(0, ROW_DTYPE), *(one_segment(documents[each], each + 1) for each in dealt)]
        )
        for dealt in assign_rows(store, batch_size)
    ]
    longest = max(map(len, rows))
    for start in range(0, longest, seq_len):
        batch = np.zeros((batch_size, seq_len), ROW_DTYPE)
        for row, whole in enumerate(rows):
            part = whole[start : start + seq_len]
            batch[row, : len(part)] = part
        yield batch_of([batch])


def assign_rows(store: TokenStore, batch_size: int) -> list[list[int]]:
    """Deals documents to batch rows, the longest first, each to the shortest row so far."""
    pairs = np.diff(store.offsets) - 1
    rows: list[list[int]] = [[] for _ in range(batch_size)]
    heap = [(0, row) for row in range(batch_size)]
    for document in np.argsort(-pairs, kind="stable").tolist():
        length, row = heapq.heappop(heap)
        rows[row].append(document)
        heapq.heappush(heap, (length + int(pairs[document]), row))
    return [sorted(row) for row in rows]
