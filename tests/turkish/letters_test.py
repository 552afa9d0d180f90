import unicodedata

import pytest

from mmrec_jax.turkish.letters import VOICELESS, fill, last_vowel, lower, voice_last, words
from mmrec_jax.turkish.segmenter import segment


def test_dotted_and_dotless_i_keep_their_dots():
    assert lower("DIŞ İŞLERİ IŞIK") == "dış işleri ışık"
    assert lower("I\u0307stanbul") == "istanbul"
    assert len("İstanbul".lower()) == len(lower("İstanbul")) + 1  # what str.lower does


def test_words_have_letters_alone():
    text = "Ankara'da 3 ev_ler, “göl”! 5'inci İ’nin"
    assert words(text) == ["Ankara'da", "ev", "ler", "göl", "5'inci", "İ’nin"]


@pytest.mark.parametrize("mark", "'’‘ʼ`´＇")
def test_a_name_with_an_apostrophe_is_one_word_to_all(mark):
    word = f"Ankara{mark}da"
    assert words(f"{word} {mark}göl{mark}") == [word, "göl"]
    assert segment(word).root == "Ankara"


def test_a_number_is_a_word_with_its_suffixes_alone():
    text = "1.000'i 3,5'u 18:00'de 2.'si %20'si 90larda 7 MP3'ü; A.Ş.'ye, 5. ev"
    expected = "1.000'i 3,5'u 18:00'de 2.'si 20'si 90larda MP 3'ü A Ş.'ye ev"
    assert words(text) == expected.split()


def test_two_dots_and_marks_apart_are_the_same_letters():
    for text in ("iyi İzmir'de göller çığ", "Iğdır'ın ışığı"):
        for other in (unicodedata.normalize("NFD", text), text.replace("i", "i\u0307")):
            assert words(other) == words(text)
            assert lower(other) == lower(text)
    assert last_vowel(unicodedata.normalize("NFD", "göl")) == "ö"
    assert words("s\u0331abr") == ["s\u0331abr"]  # NFC has no letter for it


def test_a_text_of_any_length_is_read_in_linear_time():
    length = 1 << 18  # minutes, if it were quadratic
    for part in ("a", "1", "1.", "1.'", "a'", "1a", "a\u0301\u0302"):
        words(part * (length // len(part)))


def test_the_last_consonant_is_voiced():
    stems = "kitap ağaç git ekmek renk katalog lig taş"
    assert " ".join(map(voice_last, stems.split())) == "kitab ağac gid ekmeğ reng kataloğ lig taş"


def test_the_voiceless_consonants_are_those_of_the_school_mnemonic():
    assert frozenset("fıstıkçı şahap") - frozenset("ıa ") == VOICELESS


def test_harmony_runs_through_a_suffix():
    assert fill("lArH", front=True, rounded=True) == "leri"
    assert fill("nHzHn", front=False, rounded=True) == "nuzun"
    assert fill("Hyor", front=True, rounded=True) == "üyor"
    assert fill("+lAr+DAn", front=True, rounded=False) == "+ler+Den"
    assert fill("HA", front=False, rounded=False) == "ıa"
    assert (last_vowel("sss"), last_vowel("kitap")) == ("", "a")
