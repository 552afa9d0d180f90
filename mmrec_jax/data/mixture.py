"""How much of the text comes from which source, by the step."""

from collections.abc import Sequence
from typing import Any

import grain
import numpy as np

from mmrec_jax.data.kinds.text import Stages
from mmrec_jax.data.packing import Row


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
    """Rows of several sources, by the weights of a stage; each row has tokens of one source.

    The number of rows says which training step they are for, so weights change exactly there.
    """

    def __init__(
        self, sources: Sequence[grain.IterDataset[Row]], stages: Stages, rows_per_step: int
    ) -> None:
        super().__init__(sources)
        self._sources, self._stages, self._rows_per_step = sources, stages, rows_per_step

    def __iter__(self) -> "_MixedRowsIterator":
        sources = [iter(source) for source in self._sources]
        return _MixedRowsIterator(sources, self._stages, self._rows_per_step)


class _MixedRowsIterator(grain.DatasetIterator[Row]):
    def __init__(
        self, sources: Sequence[grain.DatasetIterator[Row]], stages: Stages, rows_per_step: int
    ) -> None:
        super().__init__(sources)
        self._sources, self._stages, self._rows_per_step = sources, stages, rows_per_step
        self._rows, self._first_step = 0, 1
        self._tokens = [0] * len(sources)

    def __next__(self) -> Row:
        step = self._rows // self._rows_per_step + 1
        first_step, weights = max(stage for stage in self._stages if stage[0] <= step)
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
