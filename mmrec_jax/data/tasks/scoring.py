"""The fixed sequences that a task is scored on, in pieces of one shape."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import Batch, empty_batch
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.tasks.task import Task
from mmrec_jax.data.tasks.training import write_example


def scoring_pieces(
    task: Task, length: int, count: int, batch_size: int, seq_len: int, first_id: int
) -> Iterator[tuple[Batch, NDArray[np.bool_]]]:
    """`count` sequences of `length` tokens, the same ones in every run.

    One sequence stands in a row; the row is cut into pieces of `seq_len` tokens, so that a sequence
    of any length is read by the same compiled step in the same memory. Row b of a piece continues
    row b of the piece before: the caller hands the model's state on. Segment ids differ from one
    group of rows to the next.

    Args:
      task: where the sequences come from.
      length: tokens in each.
      count: how many.
      batch_size: rows of a piece; the last group is filled up with empty rows.
      seq_len: tokens in a row of a piece; the last one is padded.
      first_id: the token of the task's first symbol.

    Yields:
      The piece [batch_size, seq_len], and where in it final answers stand, bool of that shape.
    """
    rng = np.random.default_rng(hashed_seed(task.name, "scoring", length))
    width = -(-length // seq_len) * seq_len
    for group, first in enumerate(range(0, count, batch_size), start=1):
        rows = empty_batch(batch_size, width)
        final = np.zeros((batch_size, width), bool)
        for row in range(min(batch_size, count - first)):
            example = task.example(rng, length)
            write_example(rows, row, 0, group, example, first_id)
            final[row, np.flatnonzero(example.weights)[-1]] = True
        for begin in range(0, width, seq_len):
            places = np.s_[:, begin : begin + seq_len]
            yield {name: array[places] for name, array in rows.items()}, final[places]
