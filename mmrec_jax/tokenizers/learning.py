"""Continued byte-pair learning: merges on top of those of a tokenizer, the commonest pair first.

Byte-pair learning (Sennrich et al. 2016, arXiv:1508.07909) in arrays: a linked list of symbols, the
positions of every pair, and a heap whose counts are upper bounds, made exact when a pair comes to
the top (merging other pairs only takes positions away from a pair).
"""

import dataclasses
import heapq
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.tokenizers.bpe_file import BpeFile, Merge, unspell

Stage = Literal["subword", "superword"]  # inside a pre-token, across pre-tokens

# Added to the rank of a known merge, which comes before any count.
_KNOWN_FIRST = -(1 << 62)
# How a symbol lies to the morphemes of its word: one begins with it, one ends with it, one begins
# inside it.
BEGINS, ENDS, HOLDS = 1, 2, 4
ALIGNED = 4  # the factor for a merge that gives whole morphemes, or a part of one
_BETWEEN_COUNTS = 5_000  # tokens after which pairs are counted anew, which drops dead positions
_BETWEEN_REPORTS = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Symbols:
    """What merges are learned from."""

    symbols: NDArray[np.int32]  # [N], token ids; -1 where a word ends: no merge reaches across
    weights: NDArray[np.int64]  # [N], what an occurrence counts
    # [N], `BEGINS`, `ENDS` and `HOLDS` of each symbol. With them an occurrence counts `ALIGNED`
    # times its weight if the merged symbol is whole morphemes or lies in one
    morphemes: NDArray[np.uint8] | None = None


def word_symbols(
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    morphemes: NDArray[np.uint8] | None,
) -> Symbols:
    """The words of a text, each once, as a sequence to learn from.

    Takes int32 `ids` of all words, concatenated; int64 `offsets` [words + 1]; int64 `counts`
    [words]; uint8 `morphemes`, as long as `ids`, or None.
    """
    ends = offsets[1:]
    spread = None if morphemes is None else np.insert(morphemes, ends, 0)
    weights = np.repeat(counts, np.diff(offsets) + 1)
    return Symbols(np.insert(ids, ends, -1), weights, spread)


def pair_key(left: int, right: int) -> int:
    """One number for a pair of symbols; numbers are ordered as the pairs are."""
    return left << 32 | right


def split_key(pair: int) -> tuple[int, int]:
    """The pair of a `pair_key`."""
    return pair >> 32, pair & 0xFFFFFFFF


class PairCounts:
    """The pairs of a sequence of symbols, kept up to date while pairs are merged.

    Merges of equal count are taken in the order of their symbols, so the result depends on the
    symbols and weights alone; a new `PairCounts` of `remaining()` proceeds in the same way.
    """

    def __init__(self, sequence: Symbols, known: Mapping[int, int], at_least: int) -> None:
        """`known`: ranks of earlier merges, returned first; pairs below `at_least` never are."""
        size = len(sequence.symbols)
        self._symbols = np.append(sequence.symbols, np.int32(-1))
        self._weights = sequence.weights
        self._next = np.arange(1, size + 2, dtype=np.int32)
        self._previous = np.arange(-1, size, dtype=np.int32)
        self._morphemes = None if sequence.morphemes is None else sequence.morphemes.copy()
        self._known = known
        self._at_least = at_least
        self._positions: dict[int, NDArray[np.int32]] = {}
        self._bounds: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []
        pairs = (self._symbols[:-1] >= 0) & (self._symbols[1:] >= 0)
        self._enter(np.flatnonzero(pairs).astype(np.int32))

    def best(self) -> tuple[int, int] | None:
        """The pair to be merged next, as (key, count); None when none counts enough."""
        while self._heap:
            bound, pair = self._heap[0]
            if self._bounds.get(pair) != bound:
                heapq.heappop(self._heap)
                continue
            self._positions[pair] = self._valid(pair)
            count = int(self._count(self._without_overlaps(pair)).sum())
            if -count == bound or (count and bound < _KNOWN_FIRST // 2):
                return pair, count
            if count < self._at_least:
                heapq.heappop(self._heap)
                self.refuse(pair)
            else:
                self._bounds[pair] = -count
                heapq.heapreplace(self._heap, (-count, pair))
        return None

    def refuse(self, pair: int) -> None:
        """Stops counting a pair."""
        del self._bounds[pair], self._positions[pair]

    def merge(self, pair: int, result: int) -> None:
        """Puts the symbol `result` wherever `pair` stands."""
        left = self._without_overlaps(pair)
        self.refuse(pair)
        right = self._next[left]
        after = self._next[right]
        self._symbols[left] = result
        self._symbols[right] = -2
        self._next[left] = after
        self._previous[after] = left
        if self._morphemes is not None:
            self._morphemes[left] = _joined(self._morphemes[left], self._morphemes[right])
        before = self._previous[left]
        before = before[(before >= 0) & (self._symbols[before] >= 0)]
        touched = np.unique(np.concatenate([before, left[self._symbols[after] >= 0]]))
        self._enter(touched)

    def remaining(self) -> Symbols:
        """The sequence after all merges."""
        kept = np.flatnonzero(self._symbols[:-1] != -2)
        morphemes = None if self._morphemes is None else self._morphemes[kept]
        return Symbols(self._symbols[kept], self._weights[kept], morphemes)

    def _enter(self, positions: NDArray[np.int32]) -> None:
        """Adds the pairs that begin at `positions`."""
        if not len(positions):
            return
        right = self._symbols[self._next[positions]]
        pairs = self._symbols[positions].astype(np.int64) << 32 | right.astype(np.int64)
        order = np.argsort(pairs, kind="stable")
        pairs, positions = pairs[order], positions[order]
        starts = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]]))
        counts = np.add.reduceat(self._count(positions), starts)
        stops = np.append(starts[1:], len(pairs))
        for pair, count, start, stop in zip(
            pairs[starts].tolist(), counts.tolist(), starts.tolist(), stops.tolist(), strict=True
        ):
            rank = self._known.get(pair)
            if pair in self._positions:
                # An existing token has been made in a second way.
                new = np.union1d(self._positions[pair], positions[start:stop])
                bound = self._bounds[pair] - count
            elif rank is None and count < self._at_least:
                continue
            else:
                new, bound = positions[start:stop], -count
            if rank is not None:
                bound = _KNOWN_FIRST + rank
            self._positions[pair], self._bounds[pair] = new, bound
            heapq.heappush(self._heap, (bound, pair))

    def _valid(self, pair: int) -> NDArray[np.int32]:
        """The positions where `pair` still stands, in order."""
        left, right = split_key(pair)
        positions = self._positions[pair]
        positions = positions[self._symbols[positions] == left]
        return positions[self._symbols[self._next[positions]] == right]

    def _without_overlaps(self, pair: int) -> NDArray[np.int32]:
        """Of the valid positions of `pair`, those to be merged: of "aaa" the first."""
        positions = self._positions[pair]
        left, right = split_key(pair)
        if left != right:
            return positions
        kept: list[int] = []
        taken = -1
        for position in positions.tolist():
            if position != taken:
                kept.append(position)
                taken = int(self._next[position])
        return np.array(kept, np.int32)

    def _count(self, positions: NDArray[np.int32]) -> NDArray[np.int64]:
        """What each occurrence counts."""
        weights = self._weights[positions]
        if self._morphemes is None:
            return weights
        merged = _joined(self._morphemes[positions], self._morphemes[self._next[positions]])
        aligned = (merged & HOLDS == 0) | (merged & (BEGINS | ENDS) == BEGINS | ENDS)
        return np.where(aligned, ALIGNED * weights, weights)


def _joined(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`BEGINS`, `ENDS` and `HOLDS` of two symbols that become one."""
    holds = ((left | right) & HOLDS) | np.where(left & ENDS, HOLDS, 0)
    return ((left & BEGINS) | (right & ENDS) | holds).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class LearnedMerge:
    """A merge of two token ids, and what the pair counted when it was chosen."""

    left: int
    right: int
    result: int
    count: int
    stage: Stage


class Vocabulary:
    """The tokens and merges of a file, and those learned on top."""

    def __init__(self, base: BpeFile) -> None:
        self.base = base
        self.tokens = {index: token for token, index in base.vocab.items()}  # by id
        self.new_tokens = 0
        self.learned: list[LearnedMerge] = []
        self.ranks: dict[int, int] = {}  # of every merge, by `pair_key`
        self._ids = dict(base.vocab)
        self._results: dict[int, int] = {}
        for left, right in base.merges:
            self._enter(pair_key(self._ids[left], self._ids[right]), self._ids[left + right])

    def _enter(self, pair: int, result: int) -> None:
        self._results.setdefault(pair, result)
        self.ranks.setdefault(pair, len(self.ranks))

    def tears(self, pair: int) -> bool:
        """Whether a new merge would join a part of one character with another character."""
        if pair in self.ranks:
            return False
        left, right = (unspell(self.tokens[part]) for part in split_key(pair))
        if right[0] & 0xC0 == 0x80:  # it goes on with a character of the left
            return False
        return left[0] & 0xC0 == 0x80 or not _is_whole(right)

    def is_added(self, pair: int) -> bool:
        """Whether `pair` spells an added token of the file, which no merges may make of text."""
        left, right = split_key(pair)
        token = self.tokens[left] + self.tokens[right]
        return token in self.base.added and token not in self._ids

    def merge(self, pair: int, count: int, stage: Stage) -> int:
        """The id that `pair` becomes; a new merge is entered, and its token if that is new."""
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
        return [self.tokens[self.base.next_id + index] for index in range(self.new_tokens)]

    def added_merges(self) -> list[Merge]:
        """The new merges as tokens, in order."""
        return [(self.tokens[each.left], self.tokens[each.right]) for each in self.learned]


class OutOfPairs(Exception):
    """The text has no more pairs that occur often enough."""


def _is_whole(data: bytes) -> bool:
    """Whether no character at the end is cut off."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def learn_merges(
    stage: Stage,
    vocabulary: Vocabulary,
    sequence: Symbols,
    new_tokens: int,
    refuse: Callable[[int, int], bool],
    at_least: int,
    on_progress: Callable[[int], None],
) -> Symbols:
    """Merges the commonest pair until `vocabulary` has `new_tokens` more tokens.

    A pair whose token already exists is merged too: it becomes a second way to the token. Where an
    older merge can then continue from it, that is done at once, as an encoder would do it.

    Pairs that `refuse` (`pair_key`, count) refuses, or that count less than `at_least`, are not
    merged, nor those that spell an added token. `on_progress` is called with the number of tokens
    made here.

    Returns:
      The sequence in the new tokens.

    Raises:
      OutOfPairs: the text has fewer.
    """
    before = vocabulary.new_tokens
    while vocabulary.new_tokens < before + new_tokens:
        until = min(before + new_tokens, vocabulary.new_tokens + _BETWEEN_COUNTS)
        pairs = PairCounts(sequence, vocabulary.ranks, at_least)
        while vocabulary.new_tokens < until:
            best = pairs.best()
            if best is None:
                raise OutOfPairs
            pair, count = best
            if refuse(pair, count) or vocabulary.is_added(pair) or vocabulary.tears(pair):
                pairs.refuse(pair)
                continue
            pairs.merge(pair, vocabulary.merge(pair, count, stage))
            if vocabulary.new_tokens % _BETWEEN_REPORTS == 0:
                on_progress(vocabulary.new_tokens - before)
        sequence = pairs.remaining()
        on_progress(vocabulary.new_tokens - before)
    return sequence
