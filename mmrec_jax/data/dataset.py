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

        `batch_size` is rows of a step over all processes, each of which gets an equal part.

        Raises:
          UserError: there is too little data, or the rows do not divide evenly.
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

        At most `rows` rows of `length` tokens, or of those of the longest, padded behind the ends.
        """

    @abc.abstractmethod
    def describe(self) -> str:
        """What the data is and how much of it, in half a line."""
