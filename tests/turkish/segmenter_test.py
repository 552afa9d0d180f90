import unicodedata

import pytest

from benchmarks.segmenter import derivations, nominal_shares, nouns_of
from mmrec_jax.data.treebank import treebank_file
from mmrec_jax.turkish.counts import words_with_letters
from mmrec_jax.turkish.segmenter import segment
from mmrec_jax.turkish.suffixes import end_of


@pytest.mark.parametrize(
    ("word", "written", "lemma"),
    [
        ("evlerimizdekilerden", "ev-ler-imiz-de|ki-ler-den", "ev"),
        ("kitapçılarda", "kitap|çı-lar-da", "kitap"),
        ("yapılmıştır", "yap|ıl-mış-tır", "yap"),
        ("gidecekmişsiniz", "gid-ecek-miş-siniz", "git"),
        ("anlıyordu", "anl-ıyor-du", "anla"),
        ("oğlunun", "oğl-u-nun", "oğul"),
        ("saatlerin", "saat-ler-in", "saat"),
        ("ağacında", "ağac-ı-nda", "ağaç"),
        ("İSTANBUL'DA", "İSTANBUL-DA", "istanbul"),
        ("IĞDIR'ın", "IĞDIR-ın", "ığdır"),
        ("Savaşı'nda", "Savaş-ı-nda", "savaş"),
    ],
)
def test_known_words(word, written, lemma):
    found = segment(word)
    marks = {"derivation": "|", "inflection": "-"}
    assert found.root + "".join(marks[x.kind] + x.text for x in found.suffixes) == written
    assert found.lemma == lemma


def test_offsets_are_those_of_the_word():
    found = segment("Ankara'dakiler")
    assert (found.end, found.root) == (6, "Ankara")
    assert [(x.start, x.end) for x in found.suffixes] == [(7, 9), (9, 11), (11, 14)]
    assert all(found.word[x.start : x.end] == x.text for x in found.suffixes)
    assert found.boundaries() == (7, 9, 11)
    assert found.boundaries("derivation") == (9,)


@pytest.mark.parametrize(
    ("word", "root", "suffixes", "readings"),
    [
        ("1990'larda", "1990", "A3pl Loc", ["an"]),
        ("90lar", "90", "A3pl", ["an"]),
        ("5'inci", "5", "Ord", ["eş"]),
        ("ABD'nin", "ABD", "Gen", ["e"]),
        ("PKK'nın", "PKK", "Gen", ["e", "a"]),
        ("MİT'in", "MİT", "Gen", ["it"]),
        ("Shakespeare'in", "Shakespeare", "Gen", []),
        ("metaller", "metal", "A3pl", ["el"]),  # a palatal l
    ],
)
def test_numbers_abbreviations_and_names_have_suffixes(word, root, suffixes, readings):
    found = segment(word)
    assert found.root == root
    assert " ".join(morph.label for morph in found.suffixes) == suffixes
    assert {end_of(letters) for letters in readings} <= set(found.ends)
    assert bool(found.ends) == bool(readings)


def test_two_dots_and_other_normal_forms_are_the_same_word():
    for word in ("İyilerde", "göllerimiz", "ığdır'ın"):
        for other in (unicodedata.normalize("NFD", word), word.lower()):
            assert segment(other).boundaries() == segment(word).boundaries()


def test_a_longer_word_than_any_is_a_root():
    assert segment("ev" + "ler" * 1000).suffixes == ()
    assert segment("a" * 1_000_000).end == 1_000_000


def test_features_are_those_after_the_last_derivation():
    assert segment("evlerimizden").nominal == ("A3pl", "P1pl", "Abl")
    assert segment("evdekiler").nominal == ("A3pl", "Pnon", "Nom")
    assert segment("önemli").dictionary_form == "önemli"
    assert segment("gözlüğü").dictionary_form == "gözlük"


@pytest.mark.parametrize("text", ["", "a", "xyz", "123", "'", "İ", "-lar", "ﬁ", "日本"])
def test_any_text_is_at_least_a_root(text):
    found = segment(text)
    assert found.word == text
    assert found.end == len(text) or found.suffixes


def test_words_whose_annotation_was_not_counted():
    """Every third word of the treebank's web part."""
    path = treebank_file("web")
    words = list(words_with_letters(path.read_text(encoding="utf-8"), str(path)))[::3]
    score, nouns = derivations(words), nouns_of(words)
    assert (score.gold > 1500, len(nouns) > 3000) == (True, True)
    assert score.f1 >= 0.9
    assert nominal_shares(nouns)[0] >= 0.9  # number, possessive and case together
