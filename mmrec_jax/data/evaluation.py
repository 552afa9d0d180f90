"""A split laid out so that every token is predicted exactly once."""

import heapq
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import Batch, empty_batch
from mmrec_jax.data.packing import pack, write_row
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.windows import cut_windows
from mmrec_jax.errors import UserError

# Windows that are packed together.
_GROUP = 4096


def evaluation_batches(
    store: TokenStore, batch_size: int, seq_len: int, *, carry: bool
) -> Iterator[Batch]:
    """One pass over a split, as batches [batch_size, seq_len].

    Without `carry`, the windows are those of training; each begins from the
    zero state. With it, the documents are dealt to `batch_size` lanes of about equal length and
    each lane is cut into rows: row b of a batch continues row b of the batch before, so the caller
    hands the model's state on. The segment id is then the number of the document, from 1. Padding
    stands only at the ends of lanes.

    Raises:
      UserError: the split is empty.
    """
    if not store.num_pairs:
        raise UserError("the corpus is empty: there is nothing to evaluate")
    return _carried(store, batch_size, seq_len) if carry else _packed(store, batch_size, seq_len)


def _packed(store: TokenStore, batch_size: int, seq_len: int) -> Iterator[Batch]:
    windows = cut_windows(store, seq_len)
    for first in range(0, len(windows), _GROUP):
        rows = pack(windows.lengths[first : first + _GROUP], seq_len)
        for start in range(0, len(rows), batch_size):
            batch = empty_batch(batch_size, seq_len)
            for row, pieces in enumerate(rows[start : start + batch_size]):
                write_row(batch, row, store, windows, [first + piece for piece in pieces])
            yield batch


def _carried(store: TokenStore, batch_size: int, seq_len: int) -> Iterator[Batch]:
    lanes = [_lay_end_to_end(store, documents) for documents in assign_lanes(store, batch_size)]
    longest = max(len(places) for places, _ in lanes)
    for start in range(0, longest, seq_len):
        batch = empty_batch(batch_size, seq_len)
        for row, (places, segment_ids) in enumerate(lanes):
            part = places[start : start + seq_len]
            batch["inputs"][row, : len(part)] = store.tokens[part]
            batch["targets"][row, : len(part)] = store.tokens[part + 1]
            batch["segment_ids"][row, : len(part)] = segment_ids[start : start + seq_len]
            batch["weights"][row, : len(part)] = store.target_weights(part + 1)
        yield batch


def assign_lanes(store: TokenStore, num_lanes: int) -> list[list[int]]:
    """Deals documents to lanes, the longest first, each to the shortest lane so far."""
    pairs = np.diff(store.offsets) - 1
    lanes: list[list[int]] = [[] for _ in range(num_lanes)]
    heap = [(0, lane) for lane in range(num_lanes)]
    for document in np.argsort(-pairs, kind="stable").tolist():
        length, lane = heapq.heappop(heap)
        lanes[lane].append(document)
        heapq.heappush(heap, (length + int(pairs[document]), lane))
    return [sorted(lane) for lane in lanes]


def _lay_end_to_end(
    store: TokenStore, documents: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The places of the inputs in `store.tokens`, and the segment id of each."""
    places = [np.arange(store.offsets[d], store.offsets[d + 1] - 1) for d in documents]
    segment_ids = [
        np.full(len(part), d + 1, np.int32) for d, part in zip(documents, places, strict=True)
    ]
    return (
        np.concatenate([np.zeros(0, np.int64), *places]),
        np.concatenate([np.zeros(0, np.int32), *segment_ids]),
    )
