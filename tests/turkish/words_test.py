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
