"""Documents that were there before, whole or nearly: the first one in the order is kept."""

import hashlib
import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.quality.key_table import KeyTable
from mmrec_jax.data.quality.minhash import BANDS, band_keys, signature
from mmrec_jax.data.quality.shingles import shingles

Dedup = Literal["none", "exact", "minhash"]
Duplicate = Literal["exact_duplicate", "near_duplicate"]

_WHITE_SPACE = re.compile(r"\s+")
_COLUMNS: dict[Dedup, int] = {"none": 0, "exact": 1, "minhash": 1 + BANDS}


def num_keys(dedup: Dedup) -> int:
    """How many keys (of 8 bytes) a document has."""
    return _COLUMNS[dedup]


def duplicate_keys(text: str, dedup: Dedup) -> NDArray[np.uint64]:
    """By what a document is recognised: the hash of its text, then (minhash) those of its bands.

    White space at the ends and how much of it stands between words is not looked at. A text
    without words has no near duplicates: its bands are keyed by its own hash.
    """
    keys = np.zeros(_COLUMNS[dedup], np.uint64)
    if len(keys):
        plain = _WHITE_SPACE.sub(" ", text.strip()).encode()
        keys[:] = int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest(), "little")
    if len(keys) > 1 and len(found := shingles(text)):
        keys[1:] = band_keys(signature(found))
    return keys


class Duplicates:
    """What was kept so far, by its keys; two different texts share a key with chance 2^-64."""

    def __init__(self, dedup: Dedup, limit_bytes: int, option: str) -> None:
        """None yet.

        Args:
          dedup: "exact": copies; "minhash": near duplicates too; "none": neither.
          limit_bytes: what the tables may take.
          option: the option that sets the limit, for the error message.
        """
        share = limit_bytes // max(1, _COLUMNS[dedup])
        self._texts = KeyTable(share, option)
        self._bands = KeyTable(limit_bytes - share, option)

    @property
    def num_bytes(self) -> int:
        """What the tables take."""
        return self._texts.num_bytes + self._bands.num_bytes

    def admit(self, keys: NDArray[np.uint64]) -> list[Duplicate | None]:
        """What documents [n, keys of each] in their order are duplicates of; None: it is kept.

        Raises:
          UserError: the tables would outgrow their limit.
        """
        if not keys.shape[1]:
            return [None] * len(keys)
        known = self._texts.contains(keys[:, 0]).tolist()
        bands_known = self._bands.contains(keys[:, 1:].ravel())
        near: list[bool] = np.any(bands_known.reshape(keys[:, 1:].shape), axis=1).tolist()
        verdicts: list[Duplicate | None] = []
        texts: set[int] = set()
        bands: set[int] = set()
        for row, (text, *others) in enumerate(keys.tolist()):
            if known[row] or text in texts:
                verdicts.append("exact_duplicate")
            elif near[row] or not bands.isdisjoint(others):
                verdicts.append("near_duplicate")
            else:
                verdicts.append(None)
                texts.add(text)
                bands.update(others)
        self.remember(keys[[verdict is None for verdict in verdicts]])
        return verdicts

    def remember(self, keys: NDArray[np.uint64]) -> None:
        """Adds documents [n, keys of each] that were kept before.

        Raises:
          UserError: the tables would outgrow their limit.
        """
        if keys.shape[1]:
            self._texts.add(keys[:, 0])
            self._bands.add(keys[:, 1:].ravel())
