"""What a synthetic task is."""

import abc
import dataclasses
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.config import TaskConfig


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One sequence of a task; symbols are places in `Task.symbols`.

    Attributes:
      inputs: int [n], the symbols that the model reads.
      targets: int [n], what it should say after each of them: the answer itself, which is not
        read by the model.
      weights: float [n], weight of each answer in the loss; 0 where nothing is asked. The last
        answer with a weight above 0 is the sequence's final answer.
    """

    inputs: NDArray[np.integer]
    targets: NDArray[np.integer]
    weights: NDArray[np.floating]


class Task(abc.ABC):
    """A source of examples of any length.

    Attributes:
      name: the value of `config.data.source`.
      fields: the fields of `config.task` that define its examples, which are also the arguments of
        its constructor; the lengths, which every task has, are not among them.
      symbols: the alphabet, one character a symbol, ascending; each symbol becomes one token.
      min_length: tokens in the shortest example there is.
    """

    name: ClassVar[str]
    fields: ClassVar[tuple[str, ...]] = ()
    symbols: str
    min_length: int

    @classmethod
    def from_config(cls, config: TaskConfig) -> Self:
        """The task with its fields of `config`.

        Raises:
          UserError: a field does not suit the task.
        """
        values: dict[str, Any] = {name: getattr(config, name) for name in cls.fields}
        return cls(**values)

    @abc.abstractmethod
    def example(self, rng: np.random.Generator, length: int) -> Example:
        """An example of exactly `length` tokens, which depends on the numbers of `rng` alone."""

    def training_example(self, rng: np.random.Generator, length: int) -> Example:
        """As `example`, but to train on; a task may make some easier than those it is scored on."""
        return self.example(rng, length)
