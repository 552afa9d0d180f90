"""Batches made readable: what the model is really given."""

import itertools

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.tokenizer import Tokenizer


def inspect_rows(batch: Batch, tokenizer: Tokenizer, max_rows: int | None = None) -> str:
    """The rows of a batch in text, one line a segment.

    Pieces are separated by `|`, a space is written U+2581, characters that do not print are
    escaped; the last target of a segment, which is no input of it, stands behind an arrow.

    Args:
      batch: the rows.
      tokenizer: the one that made the tokens.
      max_rows: only the first ones; all when None.
    """
    lines = []
    rows = zip(batch["inputs"], batch["targets"], batch["segment_ids"], strict=True)
    for number, (inputs, targets, segment_ids) in enumerate(rows):
        if number == max_rows:
            break
        borders = _segment_borders(segment_ids)
        used = int(np.count_nonzero(segment_ids))
        lines.append(
            f"row {number}: {len(borders)} segments, {used} tokens, "
            f"{len(segment_ids) - used} padding"
        )
        for start, end in borders:
            pieces = "|".join(_visible(tokenizer, index) for index in inputs[start:end])
            last = _visible(tokenizer, targets[end - 1])
            lines.append(f"  [{segment_ids[start]}] {end - start} tokens: {pieces} → {last}")
    return "\n".join(lines)


def summarise(store: TokenStore, batch: Batch) -> str:
    """One line: the size of a split, bytes per token, and how full the rows of a batch are."""
    fill = np.count_nonzero(batch["segment_ids"]) / batch["segment_ids"].size
    tokens = store.num_pairs - store.num_documents  # without begin and end tokens
    return (
        f"{store.num_documents:,} documents, {tokens:,} tokens, {store.num_bytes:,} bytes, "
        f"{store.num_bytes / max(tokens, 1):.2f} bytes/token, rows {fill:.1%} full"
    )


def _segment_borders(segment_ids: NDArray[np.int32]) -> list[tuple[int, int]]:
    """(first, last + 1) of each run of one id above 0."""
    changes = np.flatnonzero(np.diff(segment_ids)) + 1
    edges = [0, *changes.tolist(), len(segment_ids)]
    return [(a, b) for a, b in itertools.pairwise(edges) if segment_ids[a] > 0]


def _visible(tokenizer: Tokenizer, index: int) -> str:
    piece = tokenizer.id_to_piece(int(index)).replace(" ", "\u2581")
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in piece
    )
