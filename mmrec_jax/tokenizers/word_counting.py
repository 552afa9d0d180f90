"""Counting the words of a text of any size, from where it was left."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import tokenizers
from numpy.typing import NDArray

from mmrec_jax.tokenizers.learning_state import LearningState
from mmrec_jax.tokenizers.text_pieces import text_pieces
from mmrec_jax.tokenizers.word_table import WordTable

_BATCH = 4_000_000  # characters encoded at once, in parallel
_BETWEEN_SAVES = 20.0  # seconds
_MOST_WORDS = 50_000_000  # of the order: beyond, evenly spaced stretches are read
_STRETCH = 1_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class CountedText:
    """A text as words.

    Attributes:
      table: its distinct words.
      order: int32, the place of each word of the text in `WordTable.words`, -1 between pieces.
      weights: int64, as long as `order`, what each counts.
    """

    table: WordTable
    order: NDArray[np.int32]
    weights: NDArray[np.int64]


def count_words(
    files: Sequence[tuple[Path, int]],
    field: str,
    tokenizer: tokenizers.Tokenizer,
    state: LearningState,
    on_progress: Callable[[int], None],
) -> CountedText:
    """Counts every pre-token of some files.

    Memory is that of a batch, of the distinct words, and of the order, which lies on disk and is
    read in stretches.

    Args:
      files: see `text_pieces`, each with what a word of it counts.
      field: see `text_pieces`.
      tokenizer: whose pre-tokens and ids are meant.
      state: keeps what is counted.
      on_progress: called with the bytes of text read so far.

    Raises:
      UserError: as `text_pieces`.
    """
    path = state.folder / "order.int32"
    saved = state.load("words")
    table = WordTable.from_arrays(saved) if saved else WordTable()
    batches, read, written = (int(n) for n in saved["position"]) if saved else (0, 0, 0)
    borders = saved["borders"].tolist() if saved else []
    with open(path, "r+b" if saved else "wb") as order:
        order.truncate(written)
        order.seek(written)
        last_save = time.monotonic()
        for batch, weight in islice(_batches(files, field), batches, None):
            on_progress(read)
            encodings = tokenizer.encode_batch(batch, add_special_tokens=False)
            order.write(table.add(encodings, weight).tobytes())
            borders.append((order.tell() // 4, weight))
            batches += 1
            read += sum(len(piece.encode()) for piece in batch)
            if time.monotonic() - last_save > _BETWEEN_SAVES:
                _save(state, table, borders, order, (batches, read))
                last_save = time.monotonic()
        _save(state, table, borders, order, (batches, read))
    on_progress(read)
    return CountedText(table, *_read_order(path, table, np.array(borders, np.int64).reshape(-1, 2)))


def _save(
    state: LearningState,
    table: WordTable,
    borders: list[tuple[int, int]],
    order: IO[bytes],
    read: tuple[int, int],
) -> None:
    order.flush()
    os.fsync(order.fileno())
    position = np.array([*read, order.tell()], np.int64)
    arrays = {"position": position, "borders": np.array(borders, np.int64).reshape(-1, 2)}
    state.save("words", {**table.as_arrays(), **arrays})


def _batches(files: Sequence[tuple[Path, int]], field: str) -> Iterator[tuple[list[str], int]]:
    """Pieces of one file, and its weight, at a time."""
    for path, weight in files:
        batch: list[str] = []
        size = 0
        for piece in text_pieces(path, field):
            batch.append(piece)
            size += len(piece)
            if size >= _BATCH:
                yield batch, weight
                batch, size = [], 0
        if batch:
            yield batch, weight


def _read_order(
    path: Path, table: WordTable, borders: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Places and weights; of a very long text those of evenly spaced stretches."""
    size = path.stat().st_size // 4
    if not size:
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    order = np.memmap(path, np.int32, "r")
    every = -(-size // _MOST_WORDS)
    places, weights = [], []
    for start in range(0, size, every * _STRETCH):
        part = order[start : start + _STRETCH]
        batch = np.searchsorted(borders[:, 0], np.arange(start, start + len(part)), "right")
        places.append(np.append(table.places(part), np.int32(-1)))
        weights.append(np.append(borders[batch, 1], 1))
    return np.concatenate(places), np.concatenate(weights)
