"""A synthetic task as the data of a run: fresh examples to train on, fixed ones to be scored on."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.kinds.config import DataConfig
from mmrec_jax.data.kinds.tasks import Example, TaskConfig
from mmrec_jax.data.packing import ROW_DTYPE, Row, batch_of
from mmrec_jax.data.seeds import hashed_seed
from mmrec_jax.data.train_iterator import TrainIterator
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.char import CharTokenizer

_FIRST = 2  # the token of a task's first symbol: those before it are the tokenizer's


class ExampleIterator(TrainIterator):
    """Batches each of which is a function of its step's number alone.

    A row holds as many examples as always fit, `seq_len // max_length`, each a segment of its own.
    Row r of a step depends on the seed, the step and r: not on how the rows are divided among
    processes.
    """

    def __init__(
        self, task: TaskConfig, rows: range, identity: dict[str, Any], step: int = 0
    ) -> None:
        """`rows`: those of the whole batch that this process reads; `step`: the first one."""
        super().__init__(identity)
        self._task, self._rows, self._step = task, rows, step

    def __next__(self) -> Batch:
        task = self._task
        rows = np.zeros((len(self._rows), task.seq_len), ROW_DTYPE)
        count = task.seq_len // task.max_length
        for row, number in zip(rows, self._rows, strict=True):
            seed = hashed_seed(task.source, "train", task.seed, self._step, number)
            rng = np.random.default_rng(seed)
            lengths = rng.integers(task.min_length, task.max_length, count, endpoint=True)
            begin = 0
            for segment, length in enumerate(lengths.tolist(), start=1):
                _write(row[begin:], segment, task.training_example(rng, length))
                begin += length
        self._step += 1
        return batch_of([rows])

    def _get_position(self) -> dict[str, Any]:
        return {"step": self._step}

    def _set_position(self, position: dict[str, Any]) -> None:
        self._step = position["step"]

    def progress(self) -> dict[str, float]:
        """See the base."""
        return {"steps": self._step}


class TaskDataset(Dataset):
    """The tokenizer has one id for each symbol: a run's files and `load` are as of any other."""

    config: TaskConfig

    def __init__(self, config: TaskConfig) -> None:
        self.config = config
        self.tokenizer = CharTokenizer(config.symbols)

    def with_config(self, config: DataConfig) -> Self:
        """See `Dataset.with_config`."""
        assert isinstance(config, TaskConfig)
        return type(self)(config)

    def batches(
        self,
        batch_size: int,
        *,
        process_index: int = 0,
        process_count: int = 1,
        read: Mapping[str, float] | None = None,
    ) -> TrainIterator:
        """See `Dataset.batches`."""
        data = self.config
        if batch_size % process_count:
            raise UserError(
                f"config.train.batch_size is {batch_size}; it must be a multiple of the number of "
                f"processes, {process_count}"
            )
        each = batch_size // process_count
        rows = range(process_index * each, (process_index + 1) * each)
        common = {field.name for field in dataclasses.fields(TaskConfig)}
        own = [field.name for field in dataclasses.fields(data) if field.name not in common]
        identity = {
            "data.source": data.source,
            "data.seq_len": data.seq_len,
            **{f"task.{name}": getattr(data, name) for name in ("min_length", "max_length", *own)},
            "data.seed": data.seed,
            "train.batch_size": batch_size,
        }
        return ExampleIterator(data, rows, identity, int((read or {}).get("steps", 0)))

    def tokens_per_step(self, batch_size: int) -> float:
        """See `Dataset.tokens_per_step`."""
        task = self.config
        examples = batch_size * (task.seq_len // task.max_length)
        return examples * (task.min_length + task.max_length) / 2

    tokens_per_epoch = None

    def describe(self) -> str:
        """See `Dataset.describe`."""
        task = self.config
        lengths = ", ".join(f"{length:,}" for length in task.eval_lengths)
        return (
            f"{task.source}, fresh examples of {task.min_length:,} to {task.max_length:,} tokens "
            f"({self.tokenizer.vocab_size:,} in the vocabulary); scored on "
            f"{task.eval_sequences:,} sequences each of {lengths} tokens"
        )

    def scoring(self, length: int, batch_size: int) -> Iterator[tuple[Batch, NDArray[np.bool_]]]:
        """The fixed sequences of `length` tokens, which depend on the task and the length alone.

        A sequence stands in a row, which is cut into chunks of `seq_len` tokens: a sequence of any
        length is read by the same compiled step in the same memory. Row b of a chunk continues row
        b of the chunk before: the caller hands the model's state on. Segment ids differ from one
        group of rows to the next, the last of which is filled up with empty rows.

        Yields:
          The chunk [batch_size, seq_len], and where in it final answers stand, bool of that shape.
        """
        task = self.config
        rng = np.random.default_rng(hashed_seed(task.source, "scoring", length))
        width = -(-length // task.seq_len) * task.seq_len
        for group, first in enumerate(range(0, task.eval_sequences, batch_size), start=1):
            rows = np.zeros((batch_size, width), ROW_DTYPE)
            final = np.zeros((batch_size, width), bool)
            for row in range(min(batch_size, task.eval_sequences - first)):
                example = task.example(rng, length)
                _write(rows[row], group, example)
                final[row, np.flatnonzero(example.weights)[-1]] = True
            for begin in range(0, width, task.seq_len):
                chunk = np.s_[:, begin : begin + task.seq_len]
                yield batch_of([rows[chunk]]), final[chunk]

    def longest(self, rows: int, length: int) -> Batch:
        """See `Dataset.longest`: the first sequences of the longest length that is scored."""
        most = max(self.config.eval_lengths)
        length = min(length, most)
        chunks = self.scoring(most, min(rows, self.config.eval_sequences))
        parts = [x for x, _ in itertools.islice(chunks, -(-length // self.config.seq_len))]
        return {
            name: np.concatenate([part[name] for part in parts], axis=1)[:, :length]
            for name in parts[0]
        }


def _write(row: Row, segment: int, example: Example) -> None:
    """Puts one example at the beginning of a row, or of the rest of one, as one segment."""
    written = row[: len(example.inputs)]
    written["inputs"], written["targets"] = example.inputs + _FIRST, example.targets + _FIRST
    written["segment_ids"], written["weights"] = segment, example.weights
