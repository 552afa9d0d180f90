"""Modular counting: the sum so far, modulo m."""

from typing import ClassVar

import numpy as np

from mmrec_jax.data.tasks.alphabet import alphabet
from mmrec_jax.data.tasks.task import Example, Task


class Modular(Task):
    """Uniform symbols 0 to m - 1; the answer at every place is the sum up to it, modulo m."""

    name: ClassVar[str] = "modular"
    min_length = 1

    def __init__(self, modulus: int) -> None:
        """`modulus`: m, from 2."""
        self._modulus = modulus
        self.symbols = alphabet(modulus)

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """See `Task.example`."""
        inputs = rng.integers(0, self._modulus, length)
        return Example(inputs, np.cumsum(inputs) % self._modulus, np.ones(length))
