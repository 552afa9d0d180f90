"""Multi-query associative recall."""

from typing import ClassVar

import numpy as np

from mmrec_jax.data.tasks.alphabet import alphabet
from mmrec_jax.data.tasks.task import Example, Task

_POWER = 0.01  # a in p(gap n) ~ n^(a - 1)


class MultiQueryRecall(Task):
    """Pairs of a key and its value, then each key once more: what was its value?

    Of a vocabulary of V symbols the keys are drawn from 1 to V // 2 - 1 and the values from V // 2
    to V - 1, both without replacement. The pairs stand first, key before value. What follows is cut
    into places of two tokens: the n-th place (n = 1, 2, ...) has the weight n^(a - 1), a = 0.01,
    and the keys draw theirs one after the other without replacement. A query is the first token of
    its place, and the answer is asked at the query itself. All other tokens are uniform over all V
    symbols, so that a key or a value may stand there too; nothing is asked at them.

    Training examples may have fewer pairs than are scored, down to `min_pairs`: many pairs are
    learnt far sooner beside few (the source trains on a mixture too).

    Source: Arora et al. 2023, arXiv:2312.04927, with the settings of its authors' generator
    (`multiquery_ar` with random non-queries). Lengths may be odd here: the last token is filler.
    """

    name: ClassVar[str] = "mqar"

    def __init__(self, vocab_size: int, pairs: int, min_pairs: int | None = None) -> None:
        """At least 4 x `pairs` tokens make an example; there are `vocab_size` // 2 - 1 keys."""
        self._first_value = vocab_size // 2
        self._num_values = vocab_size - self._first_value
        self._pairs = pairs
        self._min_pairs = pairs if min_pairs is None else min_pairs
        self.symbols = alphabet(vocab_size)
        self.min_length = 4 * pairs

    def example(self, rng: np.random.Generator, length: int) -> Example:
        """See `Task.example`."""
        return self._with_pairs(rng, length, self._pairs)

    def training_example(self, rng: np.random.Generator, length: int) -> Example:
        """See `Task.training_example`."""
        if self._min_pairs == self._pairs:
            return self.example(rng, length)
        pairs = int(rng.integers(self._min_pairs, self._pairs, endpoint=True))
        return self._with_pairs(rng, length, pairs)

    def _with_pairs(self, rng: np.random.Generator, length: int, pairs: int) -> Example:
        first_query = 2 * pairs
        keys = 1 + rng.choice(self._first_value - 1, pairs, replace=False)
        values = self._first_value + rng.choice(self._num_values, pairs, replace=False)
        # The place whose exponential clock of rate n^(a - 1) rings first has that probability, and
        # so on among the rest: draws without replacement, one after the other.
        number = np.arange(1, (length - first_query) // 2 + 1)
        rings = rng.exponential(size=len(number)) * number ** (1 - _POWER)
        queries = first_query + 2 * np.argsort(rings)[:pairs]

        inputs = rng.integers(0, len(self.symbols), length)
        inputs[0:first_query:2] = keys
        inputs[1:first_query:2] = values
        inputs[queries] = keys
        targets, weights = np.zeros(length, int), np.zeros(length)
        targets[queries] = values
        weights[queries] = 1
        return Example(inputs, targets, weights)
