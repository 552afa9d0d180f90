"""A chunk's documents, cleaned, filtered and tokenised: what a worker process makes of it."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.chunk import Chunk
from mmrec_jax.data.formats.refusals import OnError
from mmrec_jax.data.long_text import encode_long
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.quality.cleaning import clean
from mmrec_jax.data.quality.duplicates import duplicate_keys
from mmrec_jax.data.split import hash_share
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer

HISTOGRAM = 32  # bin k of lengths: 2^k to 2^(k + 1) - 1 characters


@dataclasses.dataclass(frozen=True)
class EncodedChunk:
    """The D documents of a chunk that are long enough and in the language, end to end.

    Attributes:
      tokens: [number of tokens], unsigned: of each document its begin token, its tokens, its end
        token.
      documents: int64 [D, 3]: tokens (begin and end included), UTF-8 bytes, characters of each.
      shares: float64 [D], `hash_share` of the text: what decides whether it is held out.
      keys: uint64 [D, keys of each] (`duplicate_keys`).
      counts: how many documents were "read", were left out for a reason (`Reason`, "refused":
        could not be read), were "composed" (made NFC) and "cleaned" of control characters, and how
        many "control_characters" there were.
      read_lengths: int64 [HISTOGRAM], the documents read by their characters.
      refused: a line on each record that could not be read.
    """

    tokens: NDArray[Any]
    documents: NDArray[np.int64]
    shares: NDArray[np.float64]
    keys: NDArray[np.uint64]
    counts: Counter[str]
    read_lengths: NDArray[np.int64]
    refused: tuple[str, ...]


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Little-endian, and no wider than the ids need."""
    return np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")


def encode_chunk(
    chunk: Chunk, tokenizer: Tokenizer, settings: PrepareSettings, on_error: OnError
) -> EncodedChunk:
    """Reads a chunk.

    Raises:
      UserError: a record is broken or the tokenizer refuses a document, and `on_error` is "stop".
    """
    counts: Counter[str] = Counter()
    refused: list[str] = []

    def refuse(error: UserError) -> None:
        if on_error == "stop":
            raise error
        refused.append(str(error))

    kept: list[tuple[Document, NDArray[np.int32]]] = []
    lengths: list[int] = []
    keep = settings.filter
    for original in chunk.documents(refuse):
        document, removed = clean(original)
        lengths.append(len(document.text))
        counts["composed"] += original.composed
        counts["cleaned"] += removed > 0
        counts["control_characters"] += removed
        if reason := keep.refuse(document.text):
            counts[reason] += 1
            continue
        try:
            kept.append((document, encode_long(tokenizer, document.utf8)))
        except UserError as error:
            lengths.pop()
            refuse(UserError(f"{document.name}: {error}"))
    counts["refused"] = len(refused)
    counts["read"] = len(lengths) + len(refused)
    dtype = token_dtype(tokenizer.vocab_size)
    bos, eos = (np.array([index], dtype) for index in (tokenizer.bos_id, tokenizer.eos_id))
    parts = [part for _, tokens in kept for part in (bos, tokens.astype(dtype), eos)]
    texts = [document.text for document, _ in kept]
    rows = [(len(tokens) + 2, len(d.utf8), len(d.text)) for d, tokens in kept]
    keys = [duplicate_keys(text, settings.dedup) for text in texts]
    return EncodedChunk(
        tokens=np.concatenate([np.zeros(0, dtype), *parts]),
        documents=np.array(rows, np.int64).reshape(-1, 3),
        shares=np.array([hash_share(document.utf8) for document, _ in kept], np.float64),
        keys=np.array(keys, np.uint64).reshape(len(texts), -1) if texts else _no_keys(settings),
        counts=+counts,
        read_lengths=length_histogram(np.array(lengths, np.int64)),
        refused=tuple(refused),
    )


def length_histogram(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of some lengths (at least 1, or counted as 1) fall into each bin [HISTOGRAM]."""
    bins = np.frexp(np.maximum(lengths, 1).astype(np.float64))[1] - 1
    return np.bincount(bins, minlength=HISTOGRAM).astype(np.int64)


def _no_keys(settings: PrepareSettings) -> NDArray[np.uint64]:
    return np.zeros((0, len(duplicate_keys("", settings.dedup))), np.uint64)
