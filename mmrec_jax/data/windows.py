"""Documents cut into pieces that fit in a row."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.token_store import TokenStore


@dataclasses.dataclass(frozen=True, eq=False)
class Windows:
    """Pieces of documents: window w predicts `tokens[starts[w] + 1 : starts[w] + 1 + lengths[w]]`.

    Its inputs are the same slice one to the left, so neighbouring windows of a document share one
    token, and every token but the begin token is the target of exactly one window.

    Attributes:
      starts: int64 [number of windows], into `TokenStore.tokens`.
      lengths: int32 [number of windows], pairs: 1 .. seq_len.
      documents: int64 [number of windows], from 0.
    """

    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]
    documents: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)


def cut_windows(store: TokenStore, seq_len: int) -> Windows:
    """Cuts each document into windows of `seq_len` pairs; the last one holds the rest."""
    pairs = np.diff(store.offsets) - 1
    counts = -(-pairs // seq_len)
    documents = np.repeat(np.arange(store.num_documents), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    begun = (np.arange(len(documents)) - first) * seq_len
    return Windows(
        starts=store.offsets[documents] + begun,
        lengths=np.minimum(pairs[documents] - begun, seq_len).astype(np.int32),
        documents=documents,
    )
