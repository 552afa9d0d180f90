"""What a run is trained and evaluated on."""

import abc

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
    def batches(
        self, batch_size: int, *, process_index: int = 0, process_count: int = 1
    ) -> TrainIterator:
        """The endless stream of training batches, from its beginning.

        Args:
          batch_size: rows of a step over all processes.
          process_index: this process, from 0.
          process_count: P; every process gets `batch_size // P` rows.

        Raises:
          UserError: there is too little data, or `batch_size` is not a multiple of P.
        """

    @abc.abstractmethod
    def steps_for(
        self, batch_size: int, *, epochs: float | None = None, tokens: int | None = None
    ) -> int:
        """How many steps read so much; exactly one of the two lengths is given.

        Raises:
          UserError: the data has no such unit.
        """

    @abc.abstractmethod
    def longest(self, rows: int, length: int) -> Batch:
        """The longest that the model is evaluated on: a row each, from its beginning.

        Args:
          rows: at most so many.
          length: tokens of each that are kept, at most.

        Returns:
          [rows, T], padded behind the ends; T is `length` or that of the longest row.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """What the data is and how much of it, in half a line."""
