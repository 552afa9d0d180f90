"""The arrays against byte-pair learning written down as loops over lists."""

import itertools
from collections import Counter

import numpy as np
import pytest

from mmrec_jax.tokenizers.bpe_file import BpeFile
from mmrec_jax.tokenizers.learning import (
    ALIGNED,
    BEGINS,
    ENDS,
    Vocabulary,
    learn_merges,
    pair_key,
    split_key,
    word_symbols,
)


def merge_word(word, pair, result):
    merged, index = [], 0
    while index < len(word):
        found = tuple(word[index : index + 2]) == pair
        merged.append(result if found else word[index])
        index += 2 if found else 1
    return merged


def count_pairs(words, counts, factor):
    """Pairs without overlaps within a run of one symbol, as they would be merged."""
    found = Counter()
    for number, word in enumerate(words):
        taken = {}
        for index, pair in enumerate(itertools.pairwise(word)):
            if taken.get(pair) == index and pair[0] == pair[1]:
                continue
            taken[pair] = index + 1
            found[pair] += counts[number] * factor(number, index)
    return found


def learn_by_hand(words, counts, letters, wanted, forbidden, edges):
    """Merges as (pair, count, result), and what is left. `edges`: offsets between morphemes."""
    words = [list(word) for word in words]
    spelling = list(letters)
    results, made = {}, []

    def factor(number, index):
        if edges is None:
            return 1
        lengths = [len(spelling[symbol]) for symbol in words[number]]
        begin, end = sum(lengths[:index]), sum(lengths[: index + 2])
        inside = any(begin < edge < end for edge in edges[number])
        return ALIGNED if not inside or {begin, end} <= edges[number] else 1

    while len(spelling) - len(letters) < wanted:
        found = count_pairs(words, counts, factor)
        known = [pair for pair in results if pair in found]
        allowed = [pair for pair in found if pair not in forbidden and found[pair] >= 2]
        # An earlier merge that has become possible again comes first.
        pair = known[0] if known else min(allowed, key=lambda each: (-found[each], each))
        text = spelling[pair[0]] + spelling[pair[1]]
        if text not in spelling:
            spelling.append(text)
        results.setdefault(pair, spelling.index(text))
        made.append((pair, found[pair], results[pair]))
        words = [merge_word(word, pair, results[pair]) for word in words]
    return made, words


class Recorder(Vocabulary):
    """Keeps all merges, those made again included."""

    def __init__(self, base):
        super().__init__(base)
        self.made = []

    def merge(self, pair, count, stage):
        result = super().merge(pair, count, stage)
        self.made.append((split_key(pair), count, result))
        return result


def learn(base, words, counts, wanted, forbidden=(), edges=None):
    """As `learn_by_hand`, in arrays."""
    vocabulary = Recorder(base)
    morphemes = None
    if edges is not None:
        marks = [
            BEGINS * (index in edges[n]) + ENDS * (index + 1 in edges[n])
            for n, word in enumerate(words)
            for index in range(len(word))
        ]
        morphemes = np.array(marks, np.uint8)
    flat = np.array([symbol for word in words for symbol in word], np.int32)
    offsets = np.cumsum([0, *map(len, words)])
    symbols = word_symbols(flat, offsets, np.array(counts, np.int64), morphemes)
    keys = {pair_key(*pair) for pair in forbidden}
    left = learn_merges(
        "subword", vocabulary, symbols, wanted, lambda pair, _: pair in keys, 2, lambda _: None
    ).symbols
    parts = np.split(left, np.flatnonzero(left == -1) + 1)[:-1]
    return vocabulary.made, [part[part >= 0].tolist() for part in parts]


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
    base = BpeFile("x", {}, {letter: i for i, letter in enumerate(letters)}, [], {}, "")
    expected = learn_by_hand(words, counts, letters, 30, forbidden, edges)
    assert learn(base, words, counts, 30, forbidden, edges) == expected
    assert len(expected[0]) >= 30


def test_an_older_merge_that_a_second_way_makes_possible_comes_first():
    tokens = ["a", "b", "c", "d", "x", "y", "ab", "bc", "abc", "abcd"]
    a, b, c, d, x, y, ab, _, abc, abcd = range(10)
    merges = [("b", "c"), ("a", "bc"), ("abc", "d")]
    base = BpeFile("x", {}, {token: i for i, token in enumerate(tokens)}, merges, {}, "")
    made, left = learn(base, [[ab, c], [ab, c, d], [x, y], [a, b]], [3, 2, 4, 1], 1)
    assert made == [((ab, c), 5, abc), ((abc, d), 2, abcd), ((x, y), 4, 10)]
    assert left == [[abc], [abcd], [10], [a, b]]


def test_pairs_of_a_token_that_is_made_in_a_second_way_are_counted_together():
    tokens = ["a", "b", "c", "d", "ab", "bc", "abc"]
    c, d, ab, abc = 2, 3, 4, 6
    base = BpeFile("x", {}, {x: i for i, x in enumerate(tokens)}, [("b", "c"), ("a", "bc")], {}, "")
    made, left = learn(base, [[ab, c], [abc, d], [ab, c, d]], [5, 3, 2], 1)
    assert made == [((ab, c), 7, abc), ((abc, d), 5, 7)]
    assert left == [[abc], [7], [7]]
