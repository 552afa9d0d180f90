"""k-hop induction: the induction step, k times over."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.tasks.alphabet import alphabet
from mmrec_jax.data.tasks.task import Example, Task


class KHop(Task):
    """Random symbols, no two alike in a row; the answer at i is the symbol k hops before i.

    A hop leads from a place to the one after the last earlier occurrence of its symbol. Where one
    of the k hops finds no earlier occurrence there is no answer, and none is asked.

    Source: Sanford et al. 2024, arXiv:2402.09268, section 4, with the distribution of its authors'
    code; they mix several k, told apart by a first token, and ask for a mark where there is no
    answer.
    """

    name: ClassVar[str] = "k_hop"

    def __init__(self, vocab_size: int, hops: int) -> None:
        """More than `hops` x `vocab_size` tokens make an example, so that it has an answer."""
        self._hops = hops
        self.symbols = alphabet(vocab_size)
        # The first hop fails at the first occurrence of each symbol and leads from different places
        # to different ones, so that each hop adds at most `vocab_size` places without an answer.
        self.min_length = hops * vocab_size + 1

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """See `Task.example`."""
        size = len(self.symbols)
        steps = rng.integers(1, size, length)
        steps[0] = rng.integers(0, size)
        inputs = np.cumsum(steps) % size
        hop = _hops(inputs)
        place = np.arange(length)
        for _ in range(self._hops):
            place = np.where(place >= 0, hop[place], -1)
        found = place >= 0
        return Example(inputs, np.where(found, inputs[place], 0), found.astype(float))


def _hops(inputs: NDArray[np.integer]) -> NDArray[np.integer]:
    """Where a hop leads from each place; -1 where it leads nowhere."""
    hop = np.full(len(inputs), -1)
    order = np.argsort(inputs, kind="stable")  # the places of each symbol, in ascending order
    before, after = order[:-1], order[1:]
    same = inputs[before] == inputs[after]
    hop[after[same]] = before[same] + 1
    return hop
