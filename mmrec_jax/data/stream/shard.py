"""One shard of the stream: its lanes, and the documents that they read."""

import dataclasses
import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.formats.chunk import Refuse
from mmrec_jax.data.long_text import encode_long
from mmrec_jax.data.mixture import next_source
from mmrec_jax.data.stream.blocks import BlockReader, Locator
from mmrec_jax.data.stream.plan import LeaveOut, StreamPlan
from mmrec_jax.data.stream.spans import Spans
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer

_LARGEST_ID = 2**31 - 1


@dataclasses.dataclass(slots=True)
class _Lane:
    """What a row is reading.

    Attributes:
      locator: where the document stands; None before the first one.
      tokens: uint16 or int32, begin and end tokens included.
      read: pairs that were read.
      segment: the number of the document in the shard.
    """

    locator: Locator | None
    tokens: NDArray[np.integer]
    read: int
    segment: int

    @classmethod
    def empty(cls) -> "_Lane":
        """Before the first document."""
        return cls(None, np.zeros(0, np.int32), 0, 0)


class Shard:
    """Rows without end.

    Every lane reads a document from its first token to its last, over as many rows as it takes,
    then takes the next one: there is no padding, and row r continues row r of the piece before.
    The segment id is the number of the document in the shard, from 1.
    """

    def __init__(
        self,
        plan: StreamPlan,
        number: int,
        tokenizer: Tokenizer,
        refuse: Refuse,
        leave_out: LeaveOut,
    ) -> None:
        """Begins with the first documents.

        Args:
          plan: of the whole stream.
          number: v, from 0.
          tokenizer: of the run.
          refuse: is handed each record and file that cannot be read.
          leave_out: is told of each document that is not kept (`Admission.kept`) why.
        """
        admit = functools.partial(plan.admission, leave_out=leave_out)
        self.number = number
        self._plan, self._tokenizer, self._refuse = plan, tokenizer, refuse
        self._readers = [
            BlockReader(source, index, number, plan.shuffle, admit, refuse)
            for index, source in enumerate(plan.sources)
        ]
        self._step, self._documents = 0, 0
        self._tokens = [0] * len(plan.sources)
        self._lanes = [_Lane.empty() for _ in range(plan.lanes)]

    def read_rows(self, spans: Spans) -> bool:
        """Adds the next row of each lane.

        Returns:
          Whether a document or a stage of the mixture began. If not, `state_after` of the position
          before is the position, and `epochs` are as they were.

        Raises:
          UserError: a source has no document, or the tokenizer refuses one (named).
        """
        self._step += 1
        stage = self._plan.mixture.stage(self._step)
        begun = stage.first_step == self._step
        if begun:
            self._tokens = [0 for _ in self._readers]
        seq_len = self._plan.seq_len
        for row, lane in enumerate(self._lanes):
            wanted = seq_len
            while wanted:
                left = len(lane.tokens) - 1 - lane.read
                if left <= 0:
                    lane = self._lanes[row] = self._take(stage.weights)
                    begun = True
                    continue
                count = min(left, wanted)
                spans.add(lane.tokens, lane.read, count, lane.segment)
                lane.read += count
                wanted -= count
        return begun

    def get_state(self) -> dict[str, Any]:
        """The position, fit for JSON: see `initial_state`."""
        return {
            "step": self._step,
            "documents": self._documents,
            "tokens": list(self._tokens),
            "sources": [reader.get_state() for reader in self._readers],
            "lanes": [
                None if lane.locator is None else [list(lane.locator), lane.read, lane.segment]
                for lane in self._lanes
            ],
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to a position that `get_state` gave.

        Raises:
          UserError: a document that was being read has gone.
        """
        self._step, self._documents = state["step"], state["documents"]
        self._tokens = list(state["tokens"])
        for reader, place in zip(self._readers, state["sources"], strict=True):
            reader.set_state(place)
        self._lanes = [self._lane_at(lane) for lane in state["lanes"]]

    @property
    def epochs(self) -> list[float]:
        """About how many times each source was read."""
        return [reader.epochs for reader in self._readers]

    def _take(self, weights: tuple[float, ...]) -> _Lane:
        """A lane at the beginning of the next document."""
        source = next_source(weights, self._tokens)
        reader = self._readers[source]
        begun = reader.epochs
        while True:
            locator, utf8 = reader.take()
            try:
                tokens = self._encode(utf8)
            except UserError as error:
                refusal = UserError(f"{reader.find(locator).name}: {error}")
                if reader.epochs > begun + self._plan.shuffle.shards + 1:  # it refuses them all
                    raise refusal from None
                self._refuse(refusal)
                continue
            self._tokens[source] += len(tokens) - 1
            segment = self._documents % _LARGEST_ID + 1
            self._documents += 1
            return _Lane(locator, tokens, 0, segment)

    def _lane_at(self, saved: list[Any] | None) -> _Lane:
        if saved is None:
            return _Lane.empty()
        place, read, segment = saved
        locator = Locator(*place)
        utf8 = self._readers[locator.source].find(locator).utf8
        return _Lane(locator, self._encode(utf8), read, segment)

    def _encode(self, utf8: bytes) -> NDArray[np.integer]:
        tokens = encode_long(self._tokenizer, utf8)
        # A lane keeps a document as long as it reads it, which may be millions of tokens.
        kind = np.uint16 if self._tokenizer.vocab_size <= 2**16 else np.int32
        whole: NDArray[np.integer] = np.empty(len(tokens) + 2, kind)
        whole[0], whole[1:-1], whole[-1] = self._tokenizer.bos_id, tokens, self._tokenizer.eos_id
        return whole


def initial_state(plan: StreamPlan) -> dict[str, Any]:
    """The position of a shard from which nothing was read.

    | key | content |
    |---|---|
    | `step` | rows read from each lane |
    | `documents` | begun so far |
    | `tokens` | taken from each source since the stage of the mixture began |
    | `sources` | of each: epoch, file and chunk at which the block began, documents taken of it |
    | `lanes` | of each: `Locator` of its document, pairs read of it, segment id; or null |
    """
    return {
        "step": 0,
        "documents": 0,
        "tokens": [0] * len(plan.sources),
        "sources": [[0, 0, 0, 0] for _ in plan.sources],
        "lanes": [None] * plan.lanes,
    }


def state_after(state: dict[str, Any], rows: int, seq_len: int) -> dict[str, Any]:
    """The position so many rows later, if neither a document nor a stage of the mixture began."""
    read = rows * seq_len
    lanes = [lane and [lane[0], lane[1] + read, lane[2]] for lane in state["lanes"]]
    return state | {"step": state["step"] + rows, "lanes": lanes}
