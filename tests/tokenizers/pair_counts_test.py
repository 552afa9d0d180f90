"""The arrays against byte-pair learning written down as loops over lists."""

import itertools
from collections import Counter

import numpy as np
import pytest

from mmrec_jax.tokenizers.merge_learning import OutOfPairs, learn_merges, word_symbols
from mmrec_jax.tokenizers.pair_counts import ALIGNED, BEGINS, ENDS, pair_key, split_key


class Names:
    """The least that `learn_merges` needs of a vocabulary: numbers from 100 on, by spelling."""

    def __init__(self, letters):
        self.spelling = dict(enumerate(letters))
        self.numbers = {letter: number for number, letter in self.spelling.items()}
        self.new_tokens = 0
        self.results = {}

    def make(self, pair, count):
        if pair not in self.results:
            left, right = split_key(pair)
            text = self.spelling[left] + self.spelling[right]
            if text not in self.numbers:
                self.numbers[text] = 100 + self.new_tokens
                self.spelling[self.numbers[text]] = text
                self.new_tokens += 1
            self.results[pair] = self.numbers[text]
        return self.results[pair]


def merge_word(word, pair, result):
    merged, place = [], 0
    while place < len(word):
        if tuple(word[place : place + 2]) == pair:
            merged.append(result)
            place += 2
        else:
            merged.append(word[place])
            place += 1
    return merged


def count_pairs(words, counts, aligned):
    """Pairs without overlaps within a run of one symbol, as they would be merged."""
    found = Counter()
    for number, word in enumerate(words):
        taken = {}
        for place, pair in enumerate(itertools.pairwise(word)):
            if taken.get(pair) == place and pair[0] == pair[1]:
                continue
            taken[pair] = place + 1
            found[pair] += counts[number] * aligned(number, place)
    return found


def learn_by_hand(words, counts, names, wanted, forbidden, edges):
    """Merges as (pair, count, result). `edges`: for each word the places between morphemes."""
    words = [list(word) for word in words]
    made = []

    def aligned(number, place):
        if edges is None:
            return 1
        lengths = [len(names.spelling[symbol]) for symbol in words[number]]
        begin = sum(lengths[:place])
        end = sum(lengths[: place + 2])
        inside = any(begin < edge < end for edge in edges[number])
        return ALIGNED if not inside or {begin, end} <= edges[number] else 1

    while names.new_tokens < wanted:
        found = count_pairs(words, counts, aligned)
        known = [pair for pair in found if pair_key(*pair) in names.results]
        allowed = [pair for pair in found if pair not in forbidden and found[pair] >= 2]
        if known:
            order = list(names.results)
            pair = min(known, key=lambda each: order.index(pair_key(*each)))
        elif allowed:
            pair = min(allowed, key=lambda each: (-found[each], each))
        else:
            raise OutOfPairs(names.new_tokens)
        result = names.make(pair_key(*pair), found[pair])
        made.append((pair, found[pair], result))
        words = [merge_word(word, pair, result) for word in words]
    return made, words


def learn_in_arrays(words, counts, names, wanted, forbidden, edges):
    made = []

    def make(pair, count):
        if split_key(pair) in forbidden:
            return None
        result = names.make(pair, count)
        ranks.setdefault(pair, len(ranks))
        made.append((split_key(pair), count, result))
        return result

    ranks = {}
    flat = np.array([symbol for word in words for symbol in word], np.int32)
    offsets = np.cumsum([0, *map(len, words)])
    morphemes = None
    if edges is not None:
        morphemes = np.array(
            [
                BEGINS * (place in edges[n]) + ENDS * (place + 1 in edges[n])
                for n, word in enumerate(words)
                for place in range(len(word))
            ],
            np.uint8,
        )
    symbols = word_symbols(flat, offsets, np.array(counts, np.int64), morphemes)
    left = learn_merges(
        names, symbols, wanted, make, ranks, 2, lambda done: None, lambda left: None
    )
    ends = np.flatnonzero(left.symbols == -1)
    return made, [part[part >= 0].tolist() for part in np.split(left.symbols, ends + 1)[:-1]]


@pytest.mark.parametrize("seed", range(12))
def test_the_merges_are_those_of_the_loops(seed):
    rng = np.random.default_rng(seed)
    letters = "abcd"[: 2 + seed % 3]
    words = [rng.integers(0, len(letters), rng.integers(1, 9)).tolist() for _ in range(60)]
    counts = rng.integers(1, 9, len(words)).tolist()
    forbidden = {(0, 1)} if seed % 2 else set()
    edges = None
    if seed % 4 > 1:
        edges = [{0, len(word), *rng.integers(0, len(word) + 1, 2).tolist()} for word in words]
    settings = (30, forbidden, edges)
    made, left = learn_by_hand(words, counts, Names(letters), *settings)
    assert (made, left) == learn_in_arrays(words, counts, Names(letters), *settings)
