"""Some shards together: what one process reads."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmrec_jax.data.batch import DTYPES, Batch
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.stream.plan import StreamPlan
from mmrec_jax.data.stream.shard import Shard
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.errors import UserError

_SENT = ("inputs", "targets", "segment_ids")


@dataclasses.dataclass
class Piece:
    """Some rows of one batch.

    Attributes:
      rows: `inputs`, `targets` and `segment_ids`, int32 [shards x lanes, T]; all weights are 1.
      positions: by the number of a shard, its position after these rows.
      epochs: of each shard, about how many times each source was read.
      skipped: records and files that were refused on the way here.
      left_out: documents that were not kept on the way here, by the `Reason`.
    """

    rows: Batch
    positions: dict[int, dict[str, Any]]
    epochs: list[list[float]]
    skipped: Refusals
    left_out: Counter[str]


class ShardGroup:
    """Pieces without end."""

    def __init__(
        self,
        plan: StreamPlan,
        numbers: Sequence[int],
        tokenizer: Tokenizer,
        positions: dict[int, dict[str, Any]],
    ) -> None:
        """Goes to a position.

        Args:
          plan: of the whole stream.
          numbers: the shards.
          tokenizer: of the run.
          positions: of each shard.

        Raises:
          UserError: a document that was being read has gone, or a file cannot be read.
        """
        self._plan = plan
        self._refusals = Refusals(plan.on_error)
        self._left_out: Counter[str] = Counter()
        self._shards = [
            Shard(plan, number, tokenizer, self._refuse, self._leave_out) for number in numbers
        ]
        for shard in self._shards:
            shard.set_state(positions[shard.number])

    def next_piece(self) -> Piece:
        """The next rows of all shards, in their order.

        Raises:
          UserError: as `Shard.fill`; a bad record or file, unless they are to be skipped.
        """
        lanes, shape = self._plan.lanes, (len(self._shards) * self._plan.lanes, self._plan.seq_len)
        rows = {name: np.empty(shape, DTYPES[name]) for name in _SENT}
        for index, shard in enumerate(self._shards):
            own = slice(index * lanes, (index + 1) * lanes)
            shard.fill({name: array[own] for name, array in rows.items()})
        piece = Piece(
            rows,
            {shard.number: shard.get_state() for shard in self._shards},
            [shard.epochs for shard in self._shards],
            self._refusals,
            self._left_out,
        )
        self._refusals, self._left_out = Refusals(self._plan.on_error), Counter()
        return piece

    def _refuse(self, error: UserError) -> None:
        self._refusals(error)

    def _leave_out(self, reason: str) -> None:
        self._left_out[reason] += 1
