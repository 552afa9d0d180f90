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
        if pair not in results:
            results[pair] = spelling.index(text)
            made.append((pair, found[pair], results[pair]))
        words = [merge_word(word, pair, results[pair]) for word in words]
    return made, words


def learn_in_arrays(words, counts, letters, wanted, forbidden, edges):
    base = BpeFile("x", {}, {x: i for i, x in enumerate(letters)}, [], {}, "")
    vocabulary = Vocabulary(base)
    morphemes = None
    if edges is not None:
        morphemes = np.array(
            [
                BEGINS * (index in edges[n]) + ENDS * (index + 1 in edges[n])
                for n, word in enumerate(words)
                for index in range(len(word))
            ],
            np.uint8,
        )
    flat = np.array([symbol for word in words for symbol in word], np.int32)
    offsets = np.cumsum([0, *map(len, words)])
    symbols = word_symbols(flat, offsets, np.array(counts, np.int64), morphemes)
    keys = {pair_key(*pair) for pair in forbidden}
    left = learn_merges(
        "subword", vocabulary, symbols, wanted, keys, 2, lambda done: None, lambda left: None
    )
    made = [((x.left, x.right), x.count, x.result) for x in vocabulary.learned]
    assert all(split_key(pair_key(*pair)) == pair for pair, _, _ in made)
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
    settings = (letters, 30, forbidden, edges)
    made, left = learn_by_hand(words, counts, *settings)
    assert (made, left) == learn_in_arrays(words, counts, *settings)
    assert len(made) >= 30
