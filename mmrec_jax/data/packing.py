"""Windows packed into rows, so that as few places as possible are padding.

Best-fit decreasing (Johnson 1973): the longest window first, each into the row with the least room
that is enough for it. Windows are never cut here.
"""

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.windows import Windows


def pack(lengths: NDArray[np.int32], capacity: int) -> list[list[int]]:
    """Rows of pieces whose lengths add up to at most `capacity`.

    Args:
      lengths: of the pieces, 1 .. capacity.
      capacity: of a row.

    Returns:
      The numbers of the pieces in each row, every piece in one row; about as many rows as
      `sum(lengths) / capacity`, and at most 11/9 of the fewest possible, plus a row.
    """
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r: a row has just r places left
    for piece in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[piece])
        enough = rooms >> length
        if enough:
            room = length + (enough & -enough).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(piece)
        with_room[room - length].append(row)
        rooms |= 1 << (room - length)
    return rows


def write_row(
    batch: Batch, row: int, store: TokenStore, windows: Windows, numbers: list[int]
) -> None:
    """Lays some windows end to end into a row of an empty batch, as segments 1, 2, ..."""
    filled = 0
    for segment, number in enumerate(numbers, 1):
        start, length = int(windows.starts[number]), int(windows.lengths[number])
        places, targets = slice(filled, filled + length), slice(start + 1, start + 1 + length)
        tokens = store.tokens[start : start + 1 + length]
        batch["inputs"][row, places] = tokens[:-1]
        batch["targets"][row, places] = tokens[1:]
        batch["segment_ids"][row, places] = segment
        batch["weights"][row, places] = store.target_weights(targets)
        filled += length
