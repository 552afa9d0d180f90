"""Some shards together: what one process reads."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.stream.plan import StreamPlan
from mmrec_jax.data.stream.shard import Shard
from mmrec_jax.data.stream.spans import Spans
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass
class Piece:
    """Some rows of one batch.

    Attributes:
      rows: `inputs`, `targets` and `segment_ids`, int32 [shards x lanes, T]; all weights are 1.
      positions: by the number of a shard, its position after these rows, if a document or a stage
        of the mixture began in them; the others are a row further (`state_after`). The first piece
        of a group has those of all its shards.
      epochs: of the same shards, about how many times each source was read.
      skipped: records and files that were refused on the way here.
      left_out: documents that were not kept on the way here, by the `Reason`.
    """

    rows: Batch
    positions: dict[int, dict[str, Any]]
    epochs: dict[int, list[float]]
    skipped: Refusals
    left_out: dict[str, int]


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
        self._left_out: dict[str, int] = {}
        self._shards = [
            Shard(plan, number, tokenizer, self._refuse, self._leave_out) for number in numbers
        ]
        for shard in self._shards:
            shard.set_state(positions[shard.number])
        self._begun = False

    def next_piece(self) -> Piece:
        """The next rows of all shards, in their order.

        Raises:
          UserError: as `Shard.read_rows`; a bad record or file, unless they are to be skipped.
        """
        spans = Spans()
        told = [shard for shard in self._shards if shard.read_rows(spans) or not self._begun]
        self._begun = True
        piece = Piece(
            spans.rows(self._plan.seq_len),
            {shard.number: shard.get_state() for shard in told},
            {shard.number: shard.epochs for shard in told},
            self._refusals,
            self._left_out,
        )
        self._refusals, self._left_out = Refusals(self._plan.on_error), {}
        return piece

    def _refuse(self, error: UserError) -> None:
        self._refusals(error)

    def _leave_out(self, reason: str) -> None:
        self._left_out[reason] = self._left_out.get(reason, 0) + 1
