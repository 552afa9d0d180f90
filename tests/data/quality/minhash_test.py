"""MinHash against exact Jaccard similarities and the formula of its bands."""

import hashlib

import numpy as np
import pytest

from mmrec_jax.data.quality.minhash import BANDS, PERMUTATIONS, ROWS, band_keys, signature


def _pair(rng, similarity, size=120):
    """Two sets of that Jaccard similarity, and the similarity that rounding left."""
    shared = round(2 * size * similarity / (1 + similarity))
    numbers = rng.integers(0, 1 << 63, 2 * size - shared).astype(np.uint64)
    return numbers[:size], numbers[size - shared :], shared / len(numbers)


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.6, 0.8, 0.95])
def test_signatures_and_bands_agree_as_often_as_the_theory_says(rng, similarity):
    trials, agreed, matched, exact = 250, [], 0, 0.0
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


def test_a_band_is_keyed_by_all_its_rows_and_its_place(rng):
    entries = rng.integers(0, 1 << 32, PERMUTATIONS).astype(np.uint32)
    keys = band_keys(entries)
    for place in range(PERMUTATIONS):
        changed = entries.copy()
        changed[place] ^= 1
        assert np.flatnonzero(band_keys(changed) != keys).tolist() == [place // ROWS]
    swapped = entries.copy()
    swapped[[0, 1]] = entries[[1, 0]]
    assert np.flatnonzero(band_keys(swapped) != keys).tolist() == [0]
    assert len(set(band_keys(np.zeros(PERMUTATIONS, np.uint32)).tolist())) == BANDS


def test_a_signature_is_the_least_value_of_each_hash(rng):
    numbers = rng.integers(0, 1 << 63, 700).astype(np.uint64)
    expected = []
    for place in (0, 1, PERMUTATIONS - 1):
        a, b = (
            int.from_bytes(
                hashlib.sha256(f"minhash {name} {place}".encode()).digest()[:8], "little"
            )
            for name in ("factor", "summand")
        )
        expected.append(min(((a | 1) * x + b) % 2**64 >> 32 for x in numbers.tolist()))
    assert signature(numbers)[[0, 1, -1]].tolist() == expected


def test_the_threshold_is_where_it_is_said_to_be():
    shares = [1 - (1 - s**ROWS) ** BANDS for s in (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)]
    assert [round(share, 2) for share in shares] == [0.01, 0.05, 0.21, 0.56, 0.92, 1.0]
