"""Near duplicates: MinHash signatures and the keys of their bands.

The signature of a set of shingles holds, for each of `PERMUTATIONS` random orders of all shingles,
the first one of the set. Two sets of Jaccard similarity s (size of the intersection by that of the
union) agree in an entry with probability s (Broder 1997, "On the resemblance and containment of
documents"). The signature is cut into `BANDS` bands of `ROWS` entries; documents that agree in
a whole band are taken for near duplicates, which two of similarity s do with probability
1 - (1 - s^ROWS)^BANDS (Indyk and Motwani 1998; Leskovec et al., Mining of Massive Datasets, 3.4):
0.9 % at s = 0.4, 5 % at 0.5, 21 % at 0.6, 56 % at 0.7, 92 % at 0.8, 99.96 % at 0.9. Bands and rows
are those of FineWeb (arXiv 2406.17557).
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.quality.shingles import mix

BANDS = 14
ROWS = 8
PERMUTATIONS = BANDS * ROWS

_BLOCK = 512  # shingles at a time: 0.5 MB, which stays in the cache


def _draw(purpose: str, count: int) -> NDArray[np.uint64]:
    """Random 64-bit numbers that are the same with every release of NumPy."""
    data = b"".join(hashlib.sha256(f"{purpose} {i}".encode()).digest()[:8] for i in range(count))
    return np.frombuffer(data, "<u8").astype(np.uint64)


# h(x) = (a x + b mod 2^64) >> 32 (Dietzfelbinger 1996).
_FACTORS = _draw("minhash factor", PERMUTATIONS) | np.uint64(1)
_SUMMANDS = _draw("minhash summand", PERMUTATIONS)
_BAND_SEEDS = _draw("minhash band", BANDS)
_ROW_FACTORS = _draw("minhash row", ROWS) | np.uint64(1)


def signature(shingles: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The MinHash signature [PERMUTATIONS] of a set of at least one shingle."""
    least = np.full(PERMUTATIONS, np.iinfo(np.uint64).max, np.uint64)
    for start in range(0, len(shingles), _BLOCK):
        block = shingles[start : start + _BLOCK, None]
        np.minimum(least, np.min(block * _FACTORS[None] + _SUMMANDS[None], axis=0), out=least)
    return (least >> np.uint64(32)).astype(np.uint32)


def band_keys(signature: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """A 64-bit key [BANDS] of each band of a signature."""
    entries = signature.reshape(BANDS, ROWS).astype(np.uint64)
    return mix(_BAND_SEEDS + entries @ _ROW_FACTORS)
