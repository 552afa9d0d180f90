"""Duplicates: shingles and MinHash against exact Jaccard similarities, and the table of keys."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrec_jax.data.quality import shingles as module
from mmrec_jax.data.quality.duplicates import Duplicates, duplicate_keys
from mmrec_jax.data.quality.key_table import KeyTable
from mmrec_jax.data.quality.minhash import BANDS, PERMUTATIONS, ROWS, band_keys, signature
from mmrec_jax.data.quality.shingles import SHINGLE_WORDS, shingles
from tests.small_data import refused
from tests.small_run import _WORDS

_LIMIT = 1 << 24


def word_shingles(text):
    """The plain way: a set of tuples of words."""
    words = [
        "".join(group)
        for inside, group in itertools.groupby(text.lower(), key=str.isalnum)
        if inside
    ]
    length = min(SHINGLE_WORDS, len(words))
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)} - {()}


@given(st.text(alphabet="ab çİ1٣.\n𐐀", max_size=60))
def test_there_is_one_hash_for_each_distinct_shingle(text):
    assert len(shingles(text)) == len(word_shingles(text))


def test_equal_shingles_have_equal_hashes():
    one = shingles("Bir iki üç dört beş altı")
    other = shingles("(bir)  İKİ-üç, dört... beş;yedi".replace("İKİ", "iki"))
    assert len(np.intersect1d(one, other)) == 1


def test_the_order_of_words_counts_and_their_borders():
    texts = ["a b c d e", "a b c e d", "ab c d e", "a bc d e", "b a", "ba c d e"]
    assert len({int(shingles(text)[0]) for text in texts}) == len(texts)


def test_a_long_text_is_taken_in_parts(monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 24)
    text = "aa bb cc dd ee ff gg hh " * 3
    assert len(shingles(text)) == 4


def _pair(rng, similarity, size=120):
    """Two sets of that Jaccard similarity, and the similarity that rounding left."""
    shared = round(2 * size * similarity / (1 + similarity))
    numbers = rng.integers(0, 1 << 63, 2 * size - shared).astype(np.uint64)
    return numbers[:size], numbers[size - shared :], shared / len(numbers)


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.6, 0.8, 0.95])
def test_signatures_and_bands_agree_as_often_as_the_theory_says(rng, similarity):
    trials, agreed, matched, exact = 150, [], 0, 0.0
    for _ in range(trials):
        one, other, exact = _pair(rng, similarity)
        first, second = signature(one), signature(other)
        agreed.append(np.mean(first == second))
        matched += bool(np.any(band_keys(first) == band_keys(second)))
    deviation = np.sqrt(exact * (1 - exact) / (trials * PERMUTATIONS))
    assert abs(np.mean(agreed) - exact) <= 4 * deviation
    # The entries of one signature are not quite independent: the spread is as the theory's too.
    assert np.std(agreed) <= 1.3 * np.sqrt(exact * (1 - exact) / PERMUTATIONS) + 1e-9
    expected = 1 - (1 - exact**ROWS) ** BANDS
    deviation = np.sqrt(max(expected * (1 - expected), 1 / trials) / trials)
    assert abs(matched / trials - expected) <= 4 * deviation


def test_the_order_of_the_shingles_does_not_matter(rng):
    numbers = rng.integers(0, 1 << 63, 3_000).astype(np.uint64)
    assert (signature(numbers) == signature(rng.permutation(numbers))).all()
    parts = [signature(part) for part in np.split(numbers, 3)]
    assert (signature(numbers) == np.min(parts, axis=0)).all()


def test_a_band_is_keyed_by_all_its_rows_and_its_number(rng):
    entries = rng.integers(0, 1 << 32, PERMUTATIONS).astype(np.uint32)
    keys = band_keys(entries)
    for row in range(PERMUTATIONS):
        changed = entries.copy()
        changed[row] ^= 1
        assert np.flatnonzero(band_keys(changed) != keys).tolist() == [row // ROWS]
    swapped = entries.copy()
    swapped[[0, 1]] = entries[[1, 0]]
    assert np.flatnonzero(band_keys(swapped) != keys).tolist() == [0]
    assert len(set(band_keys(np.zeros(PERMUTATIONS, np.uint32)).tolist())) == BANDS


def test_a_signature_is_the_least_value_of_each_hash(rng):
    numbers = rng.integers(0, 1 << 63, 700).astype(np.uint64)
    expected = []
    for row in (0, 1, PERMUTATIONS - 1):
        a, b = (
            int.from_bytes(hashlib.sha256(f"minhash {name} {row}".encode()).digest()[:8], "little")
            for name in ("factor", "summand")
        )
        expected.append(min(((a | 1) * x + b) % 2**64 >> 32 for x in numbers.tolist()))
    assert signature(numbers)[[0, 1, -1]].tolist() == expected


def _table(limit=1 << 30):
    return KeyTable(limit, "--ram-mb")


def test_it_is_a_set(rng):
    table, seen = _table(), set()
    for _ in range(40):
        keys = rng.integers(1, 30_000, 700).astype(np.uint64)  # small: with equal high bits
        assert table.contains(keys).tolist() == [key in seen for key in keys.tolist()]
        table.add(keys)
        seen |= set(keys.tolist())
        assert table.contains(keys).all()
    assert len(table) == len(seen)
    assert not table.contains(np.arange(30_000, 40_000).astype(np.uint64)).any()
    table = _table()
    for keys in (np.zeros(0, np.uint64), np.zeros(2, np.uint64)):  # zero is a key as well
        assert not table.contains(keys).any()
        table.add(keys)
        assert table.contains(keys).all()
        assert len(table) == len(set(keys.tolist()))


def test_it_refuses_to_outgrow_its_limit(rng):
    table = _table(limit=1_000_000)
    table.add(rng.integers(0, 1 << 63, 30_000).astype(np.uint64))
    keys = rng.integers(0, 1 << 63, 30_000).astype(np.uint64)
    with refused("--ram-mb", "30,000"):
        table.add(keys)
    assert table.num_bytes <= 1_000_000
    assert len(table) == 30_000


def _verdicts(texts, dedup, batch=1000):
    table = Duplicates(dedup, _LIMIT, "--ram-mb")
    keys = np.stack([duplicate_keys(text, dedup) for text in texts])
    found = []
    for start in range(0, len(texts), batch):
        found += table.admit(keys[start : start + batch])
    return found


def _text(rng, words):
    return " ".join(f"{word}{rng.integers(9)}" for word in rng.choice(_WORDS, words))


@pytest.mark.parametrize("batch", [1, 2, 1000])
def test_the_first_of_equal_texts_is_kept(batch):
    texts = ["Bir gün", "İki gün", " Bir\n gün ", "bir gün", "Bir gün"]
    expected = [None, None, "exact_duplicate", None, "exact_duplicate"]
    assert _verdicts(texts, "exact", batch) == expected
    assert _verdicts(texts, "none", batch) == [None] * 5
    # Without case there is but one shingle.
    expected[3] = "near_duplicate"
    assert _verdicts(texts, "minhash", batch) == expected


@pytest.mark.parametrize("batch", [1, 1000])
def test_near_duplicates_are_found_and_others_are_not(rng, batch):
    texts = [_text(rng, 300) for _ in range(20)]
    changed = [text.replace(text.split()[150], "değişik", 1) for text in texts]
    assert _verdicts([*texts, *changed], "minhash", batch) == [None] * 20 + ["near_duplicate"] * 20
    assert _verdicts([*texts, *changed], "exact", batch) == [None] * 40


def test_texts_without_words_are_near_nothing():
    assert _verdicts(["...", "!!!", "..."], "minhash") == [None, None, "exact_duplicate"]


@pytest.mark.parametrize("dedup", ["exact", "minhash"])
def test_remembering_what_was_kept_continues_where_it_was(rng, dedup):
    texts = [_text(rng, 1) for _ in range(300)]
    keys = np.stack([duplicate_keys(text, dedup) for text in texts])
    whole = Duplicates(dedup, _LIMIT, "--ram-mb").admit(keys)
    assert None in whole
    assert "exact_duplicate" in whole or "near_duplicate" in whole
    second = Duplicates(dedup, _LIMIT, "--ram-mb")
    kept = [verdict is None for verdict in whole[:200]]
    second.remember(keys[:200][kept])
    assert second.admit(keys[200:]) == whole[200:]
