"""A needle in a haystack, in symbols."""

from typing import ClassVar

import numpy as np

from mmrec_jax.data.tasks.alphabet import alphabet
from mmrec_jax.data.tasks.task import Example, Task

_VALUE = 4  # symbols of the value


class Needle(Task):
    """Somewhere in a haystack a marker, a key and the key's value; at the end, the value is asked.

    The haystack is uniform over the `vocab_size` symbols, and so are the key and the four symbols
    of the value; the marker is a symbol beside them, the last of the alphabet. The needle, marker +
    key + value, stands at a uniform depth. The last five tokens are marker, key and all but the
    last symbol of the value: from the key on, the answer is the value's next symbol, the earlier
    ones being read (teacher forcing).
    """

    name: ClassVar[str] = "needle"
    min_length = (2 + _VALUE) + (1 + _VALUE)

    def __init__(self, vocab_size: int) -> None:
        """`vocab_size`: symbols, the marker not counted."""
        self._marker = vocab_size
        self.symbols = alphabet(vocab_size + 1)

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """See `Task.example`."""
        inputs = rng.integers(0, self._marker, length)
        depth = rng.integers(0, length - self.min_length, endpoint=True)
        inputs[depth] = self._marker
        needle = inputs[depth : depth + 2 + _VALUE]
        inputs[-1 - _VALUE :] = needle[:-1]
        targets, weights = np.zeros(length, int), np.zeros(length)
        targets[-_VALUE:] = needle[2:]
        weights[-_VALUE:] = 1
        return Example(inputs, targets, weights)
