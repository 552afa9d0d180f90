"""What a run is trained and evaluated on."""

import abc
from collections.abc import Mapping
from typing import Self

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.kinds.config import DataConfig
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.data.train_iterator import TrainIterator
from mmrec_jax.tokenizers.tokenizer import Tokenizer


class Dataset(abc.ABC):
    """The data of a run.

    Attributes:
      config: what it was opened with, which says how a model of it is evaluated and prompted.
      tokenizer: gives the ids their meaning.
      validation: the documents that the loss is measured on; None where none are held out.
    """

    config: DataConfig
    tokenizer: Tokenizer
    validation: TokenStore | None = None

    @property
    def evaluators(self) -> tuple[str, ...]:
        """Names of what measures a model on this data: without validation documents no loss."""
        names = self.config.evaluators
        return tuple(n for n in names if n != "loss" or self.validation is not None)

    @abc.abstractmethod
    def with_config(self, config: DataConfig) -> Self:
        """The same data for a stage of the run, in rows of another length or in another mix."""

    @abc.abstractmethod
    def batches(
        self,
        batch_size: int,
        *,
        process_index: int = 0,
        process_count: int = 1,
        read: Mapping[str, float] | None = None,
    ) -> TrainIterator:
        """The endless stream of training batches.

        `batch_size` is rows of a step over all processes, each of which gets an equal part. `read`
        is what a stage before has read (`TrainIterator.progress`): batches of another shape go on
        behind it.

        Raises:
          UserError: there is too little data, or the rows do not divide evenly.
        """

    @abc.abstractmethod
    def tokens_per_step(self, batch_size: int) -> float:
        """How many tokens a step predicts in the mean, padding not counted."""

    @property
    @abc.abstractmethod
    def tokens_per_epoch(self) -> int | None:
        """How many tokens an epoch predicts; None where every example is new."""

    @abc.abstractmethod
    def longest(self, rows: int, length: int) -> Batch:
        """The longest that the model is evaluated on: a row each, from its beginning.

        At most `rows` rows of `length` tokens, or of those of the longest, padded behind the ends.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """What the data is and how much of it, in half a line."""
