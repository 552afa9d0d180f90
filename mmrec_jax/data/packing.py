"""Rows of tokens, and windows packed into them so that few positions are padding.

Best-fit decreasing (Johnson 1973): the longest window first, each into the row with the least room
that is enough for it. Windows are never cut here. grain's `BestFitPackIterDataset` places windows
in the order in which they come: on the built-in treebank (T = 256) it fills 97.1 %, 98.4 % and
99.0 % of 32, 128 and 512 bins at 0.5 to 0.8 ms per row; 256, 512 and 1,024 windows packed together
here fill 99.2 %, 99.6 % and 99.7 % at 0.13 ms.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import DTYPES, Batch
from mmrec_jax.data.chunks import Window

# A row [T] of a batch: one record for each position.
Row = NDArray[np.void]
ROW_DTYPE = np.dtype(list(DTYPES.items()))


def pack(lengths: Sequence[int] | NDArray[np.integer], capacity: int) -> list[list[int]]:
    """The numbers of the windows in each row: each in one, their lengths at most `capacity`.

    Lengths are 1 .. capacity. There are about `sum(lengths) / capacity` rows, and at most 11/9 of
    the fewest possible, plus a row.
    """
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms = 0  # bit r: a row has just r positions left
    for window in np.argsort(-np.asarray(lengths), kind="stable").tolist():
        length = int(lengths[window])
        enough = rooms >> length
        if enough:
            room = length + (enough & -enough).bit_length() - 1
            row = with_room[room].pop()
            if not with_room[room]:
                rooms ^= 1 << room
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(window)
        with_room[room - length].append(row)
        rooms |= 1 << (room - length)
    return rows


def one_segment(window: Window, segment_id: int) -> Row:
    """A window as the positions [n] of a row, without padding."""
    row = np.empty(window.length, ROW_DTYPE)
    row["inputs"], row["targets"] = window.tokens[:-1], window.tokens[1:]
    row["segment_ids"] = segment_id
    row["weights"] = 1 if window.weights is None else window.weights
    return row


def segments_row(windows: Sequence[Window], seq_len: int) -> Row:
    """Windows end to end as the segments 1, 2, ... of a row [seq_len], padded behind them."""
    row = np.zeros(seq_len, ROW_DTYPE)
    filled = 0
    for segment_id, window in enumerate(windows, 1):
        row[filled : filled + window.length] = one_segment(window, segment_id)
        filled += window.length
    return row


def batch_of(rows: Sequence[Row]) -> Batch:
    """Rows [T] or groups of rows [n, T] as a batch."""
    stacked = np.concatenate([np.atleast_2d(row) for row in rows])
    return {name: np.ascontiguousarray(stacked[name]) for name in DTYPES}
