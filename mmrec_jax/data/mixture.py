"""How much of the text comes from which source, by the step."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from mmrec_jax.data.packing import Row
from mmrec_jax.errors import UserError

Stage = tuple[int, tuple[float, ...]]


@dataclasses.dataclass(frozen=True)
class Mixture:
    """Weights of sources that may change at chosen steps.

    Attributes:
      stages: (first step, weights), ascending by the step; that of the first one is 1. Weights are
        at least 0, their sum is above 0 and need not be 1.
    """

    stages: tuple[Stage, ...]

    def check(self, num_sources: int) -> None:
        """Refuses weights that make no sense for so many sources, with a `UserError`."""
        for number, (first_step, weights) in enumerate(self.stages):
            reason = ""
            if len(weights) != num_sources:
                reason = f"config.data.train has {num_sources} sources, but {weights} are"
                reason += f" {len(weights)} weights"
            elif not (all(0 <= each < math.inf for each in weights) and any(weights)):
                reason = "weights are at least 0, and one is above 0"
            elif first_step <= self.stages[number - 1][0] if number else first_step != 1:
                reason = "the first stage begins at step 1, each other one after that before it"
            if reason:
                raise UserError(f"config.data.weights is {self.stages}: {reason}")

    def stage(self, step: int) -> Stage:
        """The stage that `step`, from 1, lies in."""
        return max(stage for stage in self.stages if stage[0] <= step)


def as_mixture(weights: Sequence[float] | Sequence[Stage]) -> Mixture | None:
    """The mixture of a config's field: weights, or stages; None where it is empty."""
    stages = [each for each in weights if isinstance(each, tuple)]
    same = tuple(each for each in weights if not isinstance(each, tuple))
    if same:
        stages = [(1, same)]
    return Mixture(tuple(stages)) if stages else None


def next_source(weights: Sequence[float], tokens: Sequence[int]) -> int:
    """The source that the next row comes from: the one farthest below its share of tokens.

    Always taking the next row there keeps two sources within one row of their shares. `tokens` are
    those taken from each since the stage, which has these `weights`, began.
    """
    total, whole = sum(tokens), sum(weights)
    return max(
        (source for source, weight in enumerate(weights) if weight),
        key=lambda source: (weights[source] * total - whole * tokens[source], -source),
    )


class MixedRows(grain.IterDataset[Row]):
    """Rows of several sources, by the weights of a mixture; each row has tokens of one source.

    The number of rows says which training step they are for, so weights change exactly there.
    """

    def __init__(
        self, sources: Sequence[grain.IterDataset[Row]], mixture: Mixture, rows_per_step: int
    ) -> None:
        super().__init__(sources)
        self._sources, self._mixture, self._rows_per_step = sources, mixture, rows_per_step

    def __iter__(self) -> "_MixedRowsIterator":
        sources = [iter(source) for source in self._sources]
        return _MixedRowsIterator(sources, self._mixture, self._rows_per_step)


class _MixedRowsIterator(grain.DatasetIterator[Row]):
    def __init__(
        self, sources: Sequence[grain.DatasetIterator[Row]], mixture: Mixture, rows_per_step: int
    ) -> None:
        super().__init__(sources)
        self._sources, self._mixture, self._rows_per_step = sources, mixture, rows_per_step
        self._rows, self._first_step = 0, 1
        self._tokens = [0] * len(sources)

    def __next__(self) -> Row:
        first_step, weights = self._mixture.stage(self._rows // self._rows_per_step + 1)
        if first_step != self._first_step:
            self._first_step, self._tokens = first_step, [0] * len(self._tokens)
        source = next_source(weights, self._tokens)
        row = next(self._sources[source])
        self._tokens[source] += int(np.count_nonzero(row["segment_ids"]))
        self._rows += 1
        return row

    def get_state(self) -> dict[str, Any]:
        return {
            "sources": [source.get_state() for source in self._sources],
            "rows": self._rows,
            "first_step": self._first_step,
            "tokens": list(self._tokens),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        for source, saved in zip(self._sources, state["sources"], strict=True):
            source.set_state(saved)
        self._rows, self._first_step = state["rows"], state["first_step"]
        self._tokens = list(state["tokens"])
