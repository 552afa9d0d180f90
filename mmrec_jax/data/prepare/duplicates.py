"""Documents that are there already, whole or nearly."""

import functools
import hashlib
from pathlib import Path

import numpy as np
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.dedup import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupSignature,
)
from datatrove.utils.hashing import HashConfig
from numpy.typing import NDArray

from mmrec_jax.data.prepare.document_filter import Words

# Fourteen bands of eight entries, of shingles of five words, as FineWeb has them (2406.17557); two
# documents of Jaccard similarity s are taken for near duplicates with probability
# 1 - (1 - s^8)^14, which is 5 % at .5, 56 % at .7, 92 % at .8 and 99.96 % at .9.
# (Its hash function is not used; that of the default wants a package of its own.)
CONFIG = MinhashConfig(hash_config=HashConfig(hash_fc="sha1"))
_BASE = np.uint64(0x5851F42D4C957F2D)
_BLOCK = 512  # shingles at a time: 0.5 MB, which stays in the cache


class NearSignature(MinhashDedupSignature):
    """MinHash signatures, six times as fast as the base's and in memory that does not grow."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), CONFIG, language=Words())

    def get_shingles(self, text: str) -> NDArray[np.uint64]:
        """The hashes of each five words in a row [shingles, 1].

        A text of fewer words is one shingle, and so is one of none: it is compared too.
        """
        found = self.word_tokenizer.word_tokenize(text.replace("İ", "i").lower()) or [text.strip()]
        words = np.fromiter(map(_word_hash, found), np.uint64, len(found))
        length = min(CONFIG.n_grams, len(words))
        shingles = np.zeros(len(words) - length + 1, np.uint64)
        for index in range(length):
            shingles = shingles * _BASE + words[index : index + len(shingles)]
        return shingles.reshape(-1, 1)

    def get_signature(self, shingles: NDArray[np.uint64]) -> list[list[int]]:
        """See the base, whose arrays take 900 bytes for each word."""
        blocks = (shingles[start : start + _BLOCK] for start in range(0, len(shingles), _BLOCK))
        found = np.array([super(NearSignature, self).get_signature(block) for block in blocks])
        least: list[list[int]] = found.min(axis=0).tolist()
        return least


@functools.lru_cache(1 << 16)
def _word_hash(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def near_stages(
    signatures: Path, pairs: Path, removals: Path
) -> list[tuple[str, list[PipelineStep], int]]:
    """Of each stage from signatures to the documents to remove: name, pipeline, number of tasks."""
    buckets = MinhashDedupBuckets(str(signatures), str(pairs), config=CONFIG)
    cluster = MinhashDedupCluster(str(pairs), str(removals), config=CONFIG)
    return [("buckets", [buckets], CONFIG.num_buckets), ("cluster", [cluster], 1)]


def near_copies(removals: Path, rank: int, count: int) -> NDArray[np.bool_]:
    """Which of a task's documents are to be removed, as `near_stages` found."""
    copies = np.zeros(count, np.bool_)
    path = removals / f"{rank:06d}.remove"
    if path.exists():
        copies[np.fromfile(path, "<u4")] = True
    return copies


def later_copies(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of some documents have the key of one before them; takes 25 bytes for each."""
    order = np.argsort(keys, kind="stable")
    copies = np.zeros(len(keys), np.bool_)
    copies[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return copies
