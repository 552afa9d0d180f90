import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmrec_jax.data.quality import shingles as module
from mmrec_jax.data.quality.shingles import SHINGLE_WORDS, shingles


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


def test_a_long_text_is_taken_in_pieces(monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 24)
    text = "aa bb cc dd ee ff gg hh " * 3
    assert len(shingles(text)) == 4
