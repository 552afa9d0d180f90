"""The induction heads task: what followed the trigger?"""

from typing import ClassVar

import numpy as np

from mmrec_jax.data.tasks.alphabet import alphabet
from mmrec_jax.data.tasks.task import Example, Task


class Induction(Task):
    """Uniform symbols with a trigger at a uniform place, and the trigger again at the end.

    The one answer, asked at the end, is the symbol that followed the trigger. The trigger is a
    symbol beside the `vocab_size` others, the last of the alphabet.

    Source: Olsson et al. 2022, arXiv:2209.11895; in this form with a special token Gu and Dao 2023,
    arXiv:2312.00752, who train with 16 symbols and 256 tokens and score up to 2^20 tokens.
    """

    name: ClassVar[str] = "induction"
    min_length = 3

    def __init__(self, vocab_size: int) -> None:
        """`vocab_size`: symbols, the trigger not counted."""
        self._trigger = vocab_size
        self.symbols = alphabet(vocab_size + 1)

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """See `Task.example`."""
        inputs = rng.integers(0, self._trigger, length)
        place = rng.integers(0, length - 2)
        inputs[place] = inputs[-1] = self._trigger
        targets, weights = np.zeros(length, int), np.zeros(length)
        targets[-1] = inputs[place + 1]
        weights[-1] = 1
        return Example(inputs, targets, weights)
