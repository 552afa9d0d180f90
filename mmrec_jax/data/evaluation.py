"""What a model is evaluated on: every token of a split exactly once, or the longest documents."""

import heapq
from collections.abc import Iterator, Sequence

import numpy as np

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.chunks import Chunks
from mmrec_jax.data.packing import ROW_DTYPE, batch_of, one_segment, pack, segments_row
from mmrec_jax.data.token_store import TokenStore

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
    """
    return _carried(store, batch_size, seq_len) if carry else _packed(store, batch_size, seq_len)


def _packed(store: TokenStore, batch_size: int, seq_len: int) -> Iterator[Batch]:
    windows = Chunks([store], seq_len)
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
    documents = Chunks([store])
    rows = [
        np.concatenate(
            [np.empty(0, ROW_DTYPE), *(one_segment(documents[each], each + 1) for each in dealt)]
        )
        for dealt in _dealt(store, batch_size)
    ]
    longest = max(map(len, rows))
    for start in range(0, longest, seq_len):
        batch = np.zeros((batch_size, seq_len), ROW_DTYPE)
        for row, whole in enumerate(rows):
            part = whole[start : start + seq_len]
            batch[row, : len(part)] = part
        yield batch_of([batch])


def _dealt(store: TokenStore, batch_size: int) -> list[list[int]]:
    """Documents of each batch row: the longest is dealt first, each to the shortest row so far."""
    pairs = np.diff(store.offsets) - 1
    rows: list[list[int]] = [[] for _ in range(batch_size)]
    heap = [(0, row) for row in range(batch_size)]
    for document in np.argsort(-pairs, kind="stable").tolist():
        length, row = heapq.heappop(heap)
        rows[row].append(document)
        heapq.heappush(heap, (length + int(pairs[document]), row))
    return [sorted(row) for row in rows]


def longest_documents(stores: Sequence[TokenStore], rows: int, length: int) -> Batch:
    """One document per row, the longest first, each from its beginning and cut at `length` tokens.

    The batch has at most `rows` rows, of `length` tokens or those of the longest document, padded
    behind the ends.
    """
    documents = Chunks(stores)
    order = np.argsort(-documents.lengths.astype(np.int64), kind="stable")
    longest = [documents[each].cut(0, length) for each in order[:rows].tolist()]
    width = max(window.length for window in longest)
    return batch_of([segments_row([window], width) for window in longest])
