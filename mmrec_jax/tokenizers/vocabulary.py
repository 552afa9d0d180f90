"""A vocabulary that grows by merges."""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.tokenizers.bpe_file import BpeFile, Merge
from mmrec_jax.tokenizers.pair_counts import pair_key, split_key

Stage = Literal["subword", "superword"]  # inside a pre-token, across pre-tokens
STAGES: tuple[Stage, ...] = ("subword", "superword")


@dataclasses.dataclass(frozen=True)
class LearnedMerge:
    """A merge and where it comes from.

    Attributes:
      left: id of the first token.
      right: id of the second token.
      result: id of their concatenation.
      count: what the pair counted when it was chosen.
      stage: the stage of learning.
    """

    left: int
    right: int
    result: int
    count: int
    stage: Stage


class Vocabulary:
    """The tokens and merges of a file, and those learned on top.

    Attributes:
      base: the file.
      tokens: token by id.
      new_tokens: how many tokens were added.
      learned: the merges added, in order.
      ranks: the place of every merge in the order of merging, by `pair_key`.
    """

    def __init__(self, base: BpeFile) -> None:
        self.base = base
        self.tokens = {index: token for token, index in base.vocab.items()}
        self._ids = dict(base.vocab)
        self.new_tokens = 0
        self.learned: list[LearnedMerge] = []
        self.ranks: dict[int, int] = {}
        self._results: dict[int, int] = {}
        for left, right in base.merges:
            self._enter(pair_key(self._ids[left], self._ids[right]), self._ids[left + right])

    def _enter(self, pair: int, result: int) -> None:
        self._results.setdefault(pair, result)
        self.ranks.setdefault(pair, len(self.ranks))

    def merge(self, pair: int, count: int, stage: Stage) -> int:
        """The id that `pair` becomes; a merge that is new is entered, and its token if need be."""
        if pair in self._results:
            return self._results[pair]
        left, right = split_key(pair)
        token = self.tokens[left] + self.tokens[right]
        result = self._ids.get(token)
        if result is None:
            result = self._ids[token] = self.base.next_id + self.new_tokens
            self.tokens[result] = token
            self.new_tokens += 1
        self.learned.append(LearnedMerge(left, right, result, count, stage))
        self._enter(pair, result)
        return result

    def added_tokens(self) -> list[str]:
        """The new tokens, in the order of their ids."""
        return [self.tokens[self.base.next_id + place] for place in range(self.new_tokens)]

    def added_merges(self) -> list[Merge]:
        """The new merges as tokens, in order."""
        return [(self.tokens[each.left], self.tokens[each.right]) for each in self.learned]

    def as_array(self) -> NDArray[np.int64]:
        """What was learned, int64 [merges, 3]: the pair's key, count, place in `STAGES`."""
        rows = [
            (pair_key(each.left, each.right), each.count, STAGES.index(each.stage))
            for each in self.learned
        ]
        return np.array(rows, np.int64).reshape(-1, 3)

    def learn_again(self, rows: NDArray[np.int64]) -> None:
        """Repeats what `as_array` gave, on a vocabulary without additions."""
        for pair, count, stage in rows.tolist():
            self.merge(pair, count, STAGES[stage])
