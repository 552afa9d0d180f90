import numpy as np
import pytest

from mmrec_jax.data.quality.duplicates import Duplicates, duplicate_keys
from tests.small_run import _WORDS

_LIMIT = 1 << 24


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
