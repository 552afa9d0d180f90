"""Counts of neighbouring symbols that are kept up to date while pairs are merged.

The heart of byte-pair learning (Sennrich et al. 2016, arXiv:1508.07909), in arrays: a linked list
of symbols, the places of every pair, and a heap whose counts are upper bounds, made exact when a
pair comes to the top (merging other pairs only takes places away from a pair).
"""

import heapq
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# A merge of before that has become possible again comes before any count.
_AT_ONCE = -(1 << 62)
# What is known of a piece and the morphemes of its word: one begins with it, one ends with it, one
# begins inside it.
BEGINS, ENDS, HOLDS = 1, 2, 4
ALIGNED = 4  # what an occurrence counts that makes a piece of whole morphemes, or of part of one


class PairCounts:
    """The pairs of a sequence of symbols.

    Two merges of equal count are taken in the order of their symbols, so that the result depends
    on the symbols and weights alone; a new `PairCounts` of what is `left` goes on in the same way.

    Args:
      symbols: int32 [N], -1 where a word ends: no pair reaches across.
      weights: int64 [N], what an occurrence at this place counts.
      morphemes: uint8 [N] or None, `BEGINS`, `ENDS` and `HOLDS` of each symbol. With them an
        occurrence counts `ALIGNED` times its weight if the merged piece is whole morphemes or lies
        in one, and its weight otherwise.
      known: rank of the merges made before, by `key`; they are handed out first, in this order.
      at_least: pairs that count less are never handed out.
    """

    def __init__(
        self,
        symbols: NDArray[np.int32],
        weights: NDArray[np.int64],
        morphemes: NDArray[np.uint8] | None,
        known: Mapping[int, int],
        at_least: int,
    ) -> None:
        size = len(symbols)
        self._symbols = np.append(symbols, np.int32(-1))
        self._weights = weights
        self._next = np.arange(1, size + 2, dtype=np.int32)
        self._previous = np.arange(-1, size, dtype=np.int32)
        self._morphemes = None if morphemes is None else morphemes.copy()
        self._known = known
        self._at_least = at_least
        self._places: dict[int, NDArray[np.int32]] = {}
        self._bounds: dict[int, int] = {}
        self._heap: list[tuple[int, int]] = []
        pairs = (self._symbols[:-1] >= 0) & (self._symbols[1:] >= 0)
        self._enter(np.flatnonzero(pairs).astype(np.int32))
        heapq.heapify(self._heap)

    def best(self) -> tuple[int, int] | None:
        """The pair to be merged next, as (key, count); None when none counts enough."""
        while self._heap:
            bound, pair = self._heap[0]
            if self._bounds.get(pair) != bound:
                heapq.heappop(self._heap)
                continue
            self._places[pair] = self._valid(pair)
            count = int(self._count(self._apart(pair)).sum())
            if count and bound < _AT_ONCE // 2:
                return pair, count
            if -count == bound:
                return pair, count
            if count < self._at_least:
                heapq.heappop(self._heap)
                self.refuse(pair)
            else:
                self._bounds[pair] = -count
                heapq.heapreplace(self._heap, (-count, pair))
        return None

    def refuse(self, pair: int) -> None:
        """Takes a pair out of the counting."""
        del self._bounds[pair], self._places[pair]

    def merge(self, pair: int, result: int) -> None:
        """Puts the symbol `result` wherever `pair` stands."""
        left = self._apart(pair)
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
        self._enter(touched, push=True)

    def left(
        self,
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.uint8] | None]:
        """Symbols, weights and morphemes after all merges, word ends included."""
        places = np.flatnonzero(self._symbols[:-1] != -2)
        morphemes = None if self._morphemes is None else self._morphemes[places]
        return self._symbols[places], self._weights[places], morphemes

    def _enter(self, places: NDArray[np.int32], push: bool = False) -> None:
        """Adds the pairs that begin at `places`."""
        if not len(places):
            return
        pairs = key(self._symbols[places], self._symbols[self._next[places]])
        order = np.argsort(pairs, kind="stable")
        pairs, places = pairs[order], places[order]
        starts = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]]))
        counts = np.add.reduceat(self._count(places), starts)
        stops = np.append(starts[1:], len(pairs))
        for pair, count, start, stop in zip(
            pairs[starts].tolist(), counts.tolist(), starts.tolist(), stops.tolist(), strict=True
        ):
            rank = self._known.get(pair)
            if pair in self._places:
                # Reached a second way: a symbol that there was already has been made again.
                new = np.union1d(self._places[pair], places[start:stop])
                bound = self._bounds[pair] - count
            elif rank is None and count < self._at_least:
                continue
            else:
                new, bound = places[start:stop], -count
            if rank is not None:
                bound = _AT_ONCE + rank
            self._places[pair], self._bounds[pair] = new, bound
            if push:
                heapq.heappush(self._heap, (bound, pair))
            else:
                self._heap.append((bound, pair))

    def _valid(self, pair: int) -> NDArray[np.int32]:
        """The places where `pair` still stands, in order."""
        left, right = split_key(pair)
        places = self._places[pair]
        places = places[self._symbols[places] == left]
        return places[self._symbols[self._next[places]] == right]

    def _apart(self, pair: int) -> NDArray[np.int32]:
        """Of the valid places of `pair`, those to be merged: of "aaa" the first two."""
        places = self._places[pair]
        left, right = split_key(pair)
        if left != right:
            return places
        kept: list[int] = []
        taken = -1
        for place in places.tolist():
            if place != taken:
                kept.append(place)
                taken = int(self._next[place])
        return np.array(kept, np.int32)

    def _count(self, places: NDArray[np.int32]) -> NDArray[np.int64]:
        """What each occurrence counts."""
        weights = self._weights[places]
        if self._morphemes is None:
            return weights
        piece = _joined(self._morphemes[places], self._morphemes[self._next[places]])
        aligned = (piece & HOLDS == 0) | (piece & (BEGINS | ENDS) == BEGINS | ENDS)
        return np.where(aligned, ALIGNED * weights, weights)


def _joined(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`BEGINS`, `ENDS` and `HOLDS` of two pieces that become one."""
    holds = ((left | right) & HOLDS) | np.where(left & ENDS, HOLDS, 0)
    return ((left & BEGINS) | (right & ENDS) | holds).astype(np.uint8)


def key(left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.int64]:
    """One number for a pair of symbols; numbers are ordered as the pairs are."""
    return left.astype(np.int64) << 32 | right.astype(np.int64)


def pair_key(left: int, right: int) -> int:
    """`key` of one pair."""
    return left << 32 | right


def split_key(pair: int) -> tuple[int, int]:
    """The pair of a `key`."""
    return pair >> 32, pair & 0xFFFFFFFF
