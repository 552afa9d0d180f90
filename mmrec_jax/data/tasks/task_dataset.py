"""A synthetic task as the data of a run."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.config import Config
from mmrec_jax.data.batch import Batch
from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.tasks.registry import make_task
from mmrec_jax.data.tasks.scoring import scoring_pieces
from mmrec_jax.data.tasks.training import ExampleStream
from mmrec_jax.data.train_iterator import TrainIterator, process_rows
from mmrec_jax.errors import UserError


class TaskDataset(Dataset):
    """Fresh examples to train on, fixed sequences of chosen lengths to be scored on.

    The tokenizer has one id for each symbol of the task, so a run's files and `load` are those of
    any other run.
    """

    def __init__(self, config: Config) -> None:
        """Checks the whole config: what makes sense for text alone is refused.

        Raises:
          UserError: a field does not suit a task, or a length does not suit this one.
        """
        self.config = config
        self.task = make_task(config.data.source, config.task)
        self._check(config)
        self.tokenizer = CharTokenizer(self.task.symbols)
        self._first_id = self.tokenizer.vocab_size - len(self.task.symbols)

    def batches(
        self, batch_size: int, *, process_index: int = 0, process_count: int = 1
    ) -> TrainIterator:
        """See `Dataset.batches`."""
        data, task = self.config.data, self.config.task
        rows = process_rows(batch_size, process_index, process_count)
        identity = {
            "data.source": data.source,
            "data.seq_len": data.seq_len,
            "task.min_length": task.min_length,
            "task.max_length": task.max_length,
            **{f"task.{name}": getattr(task, name) for name in self.task.fields},
            "data.seed": data.seed,
            "train.batch_size": batch_size,
        }
        stream = ExampleStream(self.task, data, task, rows, self._first_id)
        return TrainIterator(stream, identity)

    def steps_for(
        self, batch_size: int, *, epochs: float | None = None, tokens: int | None = None
    ) -> int:
        """See `Dataset.steps_for`; of a task that is the mean length, there is no epoch."""
        if tokens is None:
            raise UserError(
                f"config.train.epochs is {epochs}; with config.data.source "
                f'"{self.config.data.source}" every example is new: use train.steps or train.tokens'
            )
        task = self.config.task
        examples = batch_size * (self.config.data.seq_len // task.max_length)
        mean_length = (task.min_length + task.max_length) / 2
        return max(1, math.ceil(tokens / (examples * mean_length)))

    def describe(self) -> str:
        """See `Dataset.describe`."""
        task = self.config.task
        lengths = ", ".join(f"{length:,}" for length in task.eval_lengths)
        return (
            f"{self.config.data.source}, fresh examples of {task.min_length:,} to "
            f"{task.max_length:,} tokens ({self.tokenizer.vocab_size:,} in the vocabulary); "
            f"scored on {task.eval_sequences:,} sequences each of {lengths} tokens"
        )

    def scoring(self, length: int, batch_size: int) -> Iterator[tuple[Batch, NDArray[np.bool_]]]:
        """The fixed sequences of one length, in pieces: see `scoring_pieces`."""
        return scoring_pieces(
            self.task,
            length,
            self.config.task.eval_sequences,
            batch_size,
            self.config.data.seq_len,
            self._first_id,
        )

    def longest(self, rows: int, length: int) -> Batch:
        """See `Dataset.longest`: the first sequences of the longest length that is scored."""
        most = max(self.config.task.eval_lengths)
        rows = min(rows, self.config.task.eval_sequences)
        seq_len = self.config.data.seq_len
        pieces = itertools.islice(self.scoring(most, rows), -(-min(length, most) // seq_len))
        parts = [batch for batch, _ in pieces]
        return {
            name: np.concatenate([part[name] for part in parts], axis=1)[:, : min(length, most)]
            for name in parts[0]
        }

    def _check(self, config: Config) -> None:
        data, lengths, train = config.data, config.task, config.train
        with_task = f'with config.data.source "{data.source}"'
        shortest = self.task.min_length
        for holds, name, value, expected in (
            (
                lengths.max_length <= data.seq_len,
                "task.max_length",
                lengths.max_length,
                f"at most config.data.seq_len = {data.seq_len}",
            ),
            (
                lengths.min_length >= shortest,
                "task.min_length",
                lengths.min_length,
                f"at least {shortest}",
            ),
            (
                min(lengths.eval_lengths) >= shortest,
                "task.eval_lengths",
                lengths.eval_lengths,
                f"lengths of at least {shortest}",
            ),
            (
                config.tokenizer.kind == "char",
                "tokenizer.kind",
                config.tokenizer.kind,
                '"char": each symbol of the task is a token',
            ),
            (
                train.sample_tokens == 0,
                "train.sample_tokens",
                train.sample_tokens,
                "0: the targets are answers, not the next token, so there is no text to write",
            ),
            (
                train.eval_batches is None,
                "train.eval_batches",
                train.eval_batches,
                "None: task.eval_sequences says how much is scored",
            ),
            (
                not train.carry_state,
                "train.carry_state",
                train.carry_state,
                "False: no example is longer than a row",
            ),
        ):
            if not holds:
                raise UserError(f"config.{name} is {value!r}; {with_task} it must be {expected}")
