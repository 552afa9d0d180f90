import itertools

import pytest

from mmrec_jax.turkish.vowels import fill, fold_of, follows, last_vowel, resolve

# Lewis (2000), I 24: after each vowel, the two-fold and the four-fold suffix vowel.
_AFTER = {
    "a": "aı",
    "ı": "aı",
    "o": "au",
    "u": "au",
    "e": "ei",
    "i": "ei",
    "ö": "eü",
    "ü": "eü",
    "â": "aı",
    "î": "ei",
    "û": "au",
}


@pytest.mark.parametrize("before", _AFTER)
def test_each_vowel_asks_for_two(before):
    wanted = _AFTER[before]
    assert {vowel for vowel in "aeıiuü" if follows(vowel, before)} == set(wanted)
    assert follows("o", before)
    assert follows("ö", before)


def test_a_stem_may_count_as_front():
    assert follows("e", "a", front=True)
    assert follows("ü", "o", front=True)
    assert not follows("a", "a", front=True)


def test_without_a_vowel_before_nothing_is_asked():
    assert all(follows(vowel, "") for vowel in "aeıiuü")
    assert last_vowel("sss") == ""
    assert last_vowel("kitap") == "a"


def test_harmony_runs_through_a_suffix():
    assert fill("lArH", front=True, rounded=True) == "leri"
    assert fill("nHzHn", front=False, rounded=True) == "nuzun"
    assert fill("Hyor", front=True, rounded=True) == "üyor"
    assert fill("+lAr+DAn", front=True, rounded=False) == "+ler+Den"


def test_folds():
    assert [fold_of(x) for x in "aeıiuüoö"] == ["A", "A", "H", "H", "H", "H", None, None]
    vowels = {resolve("H", front=f, rounded=r) for f, r in itertools.product([0, 1], [0, 1])}
    assert vowels == set("ıiuü")
