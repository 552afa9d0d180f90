"""Fresh examples for every step."""

from typing import Any

import numpy as np

from mmrec_jax.data.batch import Batch, empty_batch
from mmrec_jax.data.kinds.tasks import TaskConfig
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.tasks.task import Example, Task


class ExampleStream:
    """Batches without end (`BatchStream`), each a function of its step's number alone.

    A row holds as many examples as always fit, `seq_len // max_length`, each a segment of its own;
    their lengths are uniform from `min_length` to `max_length`. Row r of a step depends on the
    seed, the step and r: not on how the rows are divided among processes.
    """

    def __init__(self, task: Task, config: TaskConfig, rows: range, first_id: int) -> None:
        """Starts at step 0.

        Args:
          task: where the examples come from.
          config: `seq_len`, `seed`, `min_length` and `max_length` are used.
          rows: the rows of the whole batch that this process reads.
          first_id: the token of the task's first symbol.
        """
        self._task = task
        self._config = config
        self._rows = rows
        self._first_id = first_id
        self._step = 0

    def __next__(self) -> Batch:
        config, task = self._config, self._task
        batch = empty_batch(len(self._rows), config.seq_len)
        count = config.seq_len // config.max_length
        for place, row in enumerate(self._rows):
            seed = hashed_seed(task.name, "train", config.seed, self._step, row)
            rng = np.random.default_rng(seed)
            lengths = rng.integers(config.min_length, config.max_length, count, endpoint=True)
            begin = 0
            for segment, length in enumerate(lengths.tolist(), start=1):
                example = task.training_example(rng, length)
                write_example(batch, place, begin, segment, example, self._first_id)
                begin += length
        self._step += 1
        return batch

    def metrics(self) -> dict[str, float]:
        """See `BatchStream.metrics`: every example is new, so there are no epochs."""
        return {}

    def get_state(self) -> dict[str, Any]:
        """See `BatchStream.get_state`."""
        return {"step": self._step}

    def set_state(self, state: dict[str, Any]) -> None:
        """See `BatchStream.set_state`."""
        self._step = state["step"]


def write_example(
    batch: Batch, row: int, begin: int, segment: int, example: Example, first_id: int
) -> None:
    """Fills places `begin`, `begin + 1`, ... of a row with one example, as one segment."""
    places = slice(begin, begin + len(example.inputs))
    batch["inputs"][row, places] = example.inputs + first_id
    batch["targets"][row, places] = example.targets + first_id
    batch["segment_ids"][row, places] = segment
    batch["weights"][row, places] = example.weights
