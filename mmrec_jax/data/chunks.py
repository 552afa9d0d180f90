"""The tokens of stores, in chunks that can be read in any order."""

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.token_store import TokenStore

_WHOLE = 2**31 - 1


class Window(NamedTuple):
    """Consecutive tokens of one document: n inputs and the n targets one to their right."""

    tokens: NDArray[np.integer]  # [n + 1], of any integer type
    weights: NDArray[np.float32] | None = None  # [n], of each target in the loss; None: 1

    @property
    def length(self) -> int:
        """n, how many tokens are predicted."""
        return len(self.tokens) - 1

    def cut(self, start: int, stop: int) -> "Window":
        """The window of its targets `start` to `stop`."""
        weights = None if self.weights is None else self.weights[start:stop]
        return Window(self.tokens[start : stop + 1], weights)


class Chunks:
    """The documents of stores, one store after the other, in chunks of at most `limit` targets.

    Neighbours in a document share one token, and every token but the begin token is the target of
    exactly one chunk. A random-access source of grain.

    Attributes:
      lengths: int32 [chunks], targets.
      begins: bool [chunks], whether the chunk begins a document.
    """

    def __init__(self, stores: Sequence[TokenStore], limit: int = _WHOLE) -> None:
        self._stores = stores
        starts, lengths, begins = zip(*(_cut(store, limit) for store in stores), strict=True)
        self._firsts = np.cumsum([0, *map(len, starts)]).tolist()  # chunk of each store
        self._starts = np.concatenate(starts)
        self.lengths: NDArray[np.int32] = np.concatenate(lengths)
        self.begins: NDArray[np.bool_] = np.concatenate(begins)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Window:
        store = self._stores[bisect.bisect_right(self._firsts, index) - 1]
        start = int(self._starts[index])
        stop = start + int(self.lengths[index])
        weights = None if store.weights is None else store.weights[start + 1 : stop + 1]
        return Window(store.tokens[start : stop + 1], weights)


def _cut(
    store: TokenStore, limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.bool_]]:
    """Of each chunk its first token, its length, and whether it begins a document."""
    targets = np.diff(store.offsets) - 1
    counts = -(-targets // limit)
    documents = np.repeat(np.arange(store.num_documents), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    before = (np.arange(len(documents)) - first) * limit
    lengths = np.minimum(targets[documents] - before, limit).astype(np.int32)
    return store.offsets[documents] + before, lengths, before == 0


def document_runs(chunks: Chunks, share: int) -> NDArray[np.int64]:
    """Borders [runs + 1]: a batch row reads the chunks from `borders[r]` up to `borders[r + 1]`.

    A run is a document, or of a document longer than `share` targets a segment of about that
    length: rows would otherwise run out of other documents.
    """
    starts = np.concatenate([[0], np.cumsum(chunks.lengths, dtype=np.int64)])[:-1]
    document = np.cumsum(chunks.begins)
    offset = starts - starts[chunks.begins][document - 1]
    segment = offset // share
    new = chunks.begins.copy()
    new[1:] |= segment[1:] != segment[:-1]
    return np.append(np.flatnonzero(new), len(chunks))
