import pytest

from mmrec_jax.turkish.segmenter import segment
from mmrec_jax.turkish.words import words


def test_words_have_letters_alone():
    assert words("Ankara'da 3 ev_ler, “göl”! 5'inci İ’nin") == [
        "Ankara'da",
        "ev",
        "ler",
        "göl",
        "inci",
        "İ’nin",
    ]


@pytest.mark.parametrize("mark", "'’ʼ`´")
def test_a_name_with_an_apostrophe_is_one_word_to_all(mark):
    word = f"Ankara{mark}da"
    assert words(f"{word} {mark}göl{mark}") == [word, "göl"]
    assert segment(word).root == "Ankara"
