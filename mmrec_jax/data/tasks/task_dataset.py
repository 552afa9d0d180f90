"""A synthetic task as the data of a run."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.kinds.tasks import TaskConfig
from mmrec_jax.data.tasks.scoring import scoring_pieces
from mmrec_jax.data.tasks.training import ExampleStream
from mmrec_jax.data.train_iterator import TrainIterator, process_rows
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.char import CharTokenizer


class TaskDataset(Dataset):
    """Fresh examples to train on, fixed sequences of chosen lengths to be scored on.

    The tokenizer has one id for each symbol of the task, so a run's files and `load` are those of
    any other run.
    """

    config: TaskConfig

    def __init__(self, config: TaskConfig) -> None:
        """Makes the task.

        Raises:
          UserError: a field does not suit it.
        """
        self.config = config
        self.task = config.make_task()
        self.tokenizer = CharTokenizer(self.task.symbols)
        self._first_id = self.tokenizer.vocab_size - len(self.task.symbols)

    def batches(
        self, batch_size: int, *, process_index: int = 0, process_count: int = 1
    ) -> TrainIterator:
        """See `Dataset.batches`."""
        data = self.config
        rows = process_rows(batch_size, process_index, process_count)
        common = {field.name for field in dataclasses.fields(TaskConfig)}
        own = [field.name for field in dataclasses.fields(data) if field.name not in common]
        identity = {
            "data.source": data.source,
            "data.seq_len": data.seq_len,
            **{f"task.{name}": getattr(data, name) for name in ("min_length", "max_length", *own)},
            "data.seed": data.seed,
            "train.batch_size": batch_size,
        }
        stream = ExampleStream(self.task, data, rows, self._first_id)
        return TrainIterator(stream, identity)

    def steps_for(
        self, batch_size: int, *, epochs: float | None = None, tokens: int | None = None
    ) -> int:
        """See `Dataset.steps_for`; of a task that is the mean length, there is no epoch."""
        if tokens is None:
            raise UserError(
                f"config.train.epochs is {epochs}; with config.data.source "
                f'"{self.config.source}" every example is new: use train.steps or train.tokens'
            )
        task = self.config
        examples = batch_size * (self.config.seq_len // task.max_length)
        mean_length = (task.min_length + task.max_length) / 2
        return max(1, math.ceil(tokens / (examples * mean_length)))

    def describe(self) -> str:
        """See `Dataset.describe`."""
        task = self.config
        lengths = ", ".join(f"{length:,}" for length in task.eval_lengths)
        return (
            f"{self.config.source}, fresh examples of {task.min_length:,} to "
            f"{task.max_length:,} tokens ({self.tokenizer.vocab_size:,} in the vocabulary); "
            f"scored on {task.eval_sequences:,} sequences each of {lengths} tokens"
        )

    def scoring(self, length: int, batch_size: int) -> Iterator[tuple[Batch, NDArray[np.bool_]]]:
        """The fixed sequences of one length, in pieces: see `scoring_pieces`."""
        return scoring_pieces(
            self.task,
            length,
            self.config.eval_sequences,
            batch_size,
            self.config.seq_len,
            self._first_id,
        )

    def longest(self, rows: int, length: int) -> Batch:
        """See `Dataset.longest`: the first sequences of the longest length that is scored."""
        most = max(self.config.eval_lengths)
        rows = min(rows, self.config.eval_sequences)
        seq_len = self.config.seq_len
        pieces = itertools.islice(self.scoring(most, rows), -(-min(length, most) // seq_len))
        parts = [batch for batch, _ in pieces]
        return {
            name: np.concatenate([part[name] for part in parts], axis=1)[:, : min(length, most)]
            for name in parts[0]
        }
