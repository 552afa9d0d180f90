"""Counting the words of a text of any size, from where it was left."""

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


def count_words(
    files: Sequence[Path],
    field: str,
    tokenizer: tokenizers.Tokenizer,
    state: LearningState,
    on_progress: Callable[[int], None],
) -> tuple[WordTable, NDArray[np.int32]]:
    """Counts every pre-token of some files.

    Memory is that of a batch, of the distinct words, and of the order, which lies on disk and is
    read in stretches.

    Args:
      files: see `text_pieces`.
      field: see `text_pieces`.
      tokenizer: whose pre-tokens and ids are meant.
      state: keeps what is counted.
      on_progress: called with the bytes of text read so far.

    Returns:
      The table, and the text as places in it (`WordTable.places`), -1 between pieces.

    Raises:
      UserError: as `text_pieces`.
    """
    order_path = state.folder / "order.int32"
    saved = state.load("words")
    table = WordTable.from_arrays(saved) if saved else WordTable()
    pieces, read, written = (int(n) for n in saved["position"]) if saved else (0, 0, 0)
    with open(order_path, "r+b" if saved else "wb") as order:
        order.truncate(written)
        order.seek(written)
        last_save = time.monotonic()
        rest = islice(_all_pieces(files, field), pieces, None)
        for batch in _batches(rest):
            on_progress(read)
            table_order = table.add(tokenizer.encode_batch(batch, add_special_tokens=False))
            order.write(table_order.tobytes())
            pieces += len(batch)
            read += sum(len(piece.encode()) for piece in batch)
            if time.monotonic() - last_save > _BETWEEN_SAVES:
                _save(state, table, order, (pieces, read))
                last_save = time.monotonic()
        _save(state, table, order, (pieces, read))
    on_progress(read)
    return table, _read_order(order_path, table)


def _save(state: LearningState, table: WordTable, order: IO[bytes], read: tuple[int, int]) -> None:
    order.flush()
    os.fsync(order.fileno())
    position = np.array([*read, order.tell()], np.int64)
    state.save("words", {**table.as_arrays(), "position": position})


def _all_pieces(files: Sequence[Path], field: str) -> Iterator[str]:
    for path in files:
        yield from text_pieces(path, field)


def _batches(pieces: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece)
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_order(path: Path, table: WordTable) -> NDArray[np.int32]:
    size = path.stat().st_size // 4
    if not size:
        return np.zeros(0, np.int32)
    order = np.memmap(path, np.int32, "r")
    every = -(-size // _MOST_WORDS)
    stretches = [
        np.append(table.places(order[start : start + _STRETCH]), np.int32(-1))
        for start in range(0, size, every * _STRETCH)
    ]
    return np.concatenate(stretches)
