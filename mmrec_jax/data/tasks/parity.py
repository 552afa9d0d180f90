"""Parity: has the number of ones so far been odd?"""

from typing import ClassVar

import numpy as np

from mmrec_jax.data.tasks.task import Example, Task


class Parity(Task):
    """Fair bits; the answer at every place is the sum of the bits up to it, modulo 2.

    The smallest task that needs a state which turns over: a recurrence that is linear in its state
    with decays in (0, 1) cannot hold it beyond the lengths it was trained on.
    """

    name: ClassVar[str] = "parity"
    symbols = "01"
    min_length = 1

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """See `Task.example`."""
        bits = rng.integers(0, 2, length)
        return Example(bits, np.cumsum(bits) % 2, np.ones(length))
