"""Batches made readable: what the model is really given."""

import itertools

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import DTYPES, Batch
from mmrec_jax.tokenizers.tokenizer import Tokenizer


def inspect_rows(batch: Batch, tokenizer: Tokenizer, max_rows: int | None = None) -> str:
    """The rows of a batch in text, one line a segment.

    Pieces are separated by `|`, a space is written U+2581, characters that do not print are
    escaped; the last target of a segment, which is no input of it, stands behind an arrow. Targets
    that are not the next input have a line of their own, with `·` where the weight is 0. Only the
    first `max_rows`; all when None.
    """
    lines = []
    for number in range(len(batch["inputs"]))[:max_rows]:
        inputs, targets, segment_ids, weights = (batch[name][number] for name in DTYPES)
        borders = _segment_borders(segment_ids)
        used = int(np.count_nonzero(segment_ids))
        lines.append(
            f"row {number}: {len(borders)} segments, {used} tokens, "
            f"{len(segment_ids) - used} padding"
        )
        for start, end in borders:
            pieces = "|".join(_visible(tokenizer, index) for index in inputs[start:end])
            line = f"  [{segment_ids[start]}] {end - start} tokens: {pieces}"
            counted = weights[start:end] > 0
            if np.array_equal(inputs[start + 1 : end], targets[start : end - 1]) and counted.all():
                lines.append(f"{line} → {_visible(tokenizer, targets[end - 1])}")
            else:
                asked = zip(targets[start:end], counted, strict=True)
                answers = (_visible(tokenizer, index) if counts else "·" for index, counts in asked)
                lines += [line, f"      targets: {'|'.join(answers)}"]
    return "\n".join(lines)


def fill(batch: Batch) -> float:
    """Share of the places of a batch that are not padding."""
    return float(np.count_nonzero(batch["segment_ids"]) / batch["segment_ids"].size)


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
