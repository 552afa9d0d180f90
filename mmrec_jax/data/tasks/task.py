"""What a synthetic task is."""

import abc
import dataclasses
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray


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
      name: what its examples are seeded with; that of its kind of data.
      symbols: the alphabet, one character a symbol, ascending; each symbol becomes one token.
      min_length: tokens in the shortest example there is.
    """

    name: ClassVar[str]
    symbols: str
    min_length: int

    @abc.abstractmethod
    def example(self, rng: np.random.Generator, length: int) -> Example:
        """An example of exactly `length` tokens, which depends on the numbers of `rng` alone."""

    def training_example(self, rng: np.random.Generator, length: int) -> Example:
        """As `example`, but to train on; a task may make some easier than those it is scored on."""
        return self.example(rng, length)
