import pytest

from benchmarks.segmenter_measures import derivations, nominal_shares, nouns_of
from mmrec_jax.data.treebank import treebank_file
from mmrec_jax.turkish.annotated_word import annotated_words
from mmrec_jax.turkish.segmenter import segment


def _written(word):
    found = segment(word)
    marks = {"derivation": "|", "inflection": "-"}
    return found.root + "".join(marks[x.kind] + x.text for x in found.suffixes)


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
    assert _written(word) == written
    assert segment(word).lemma == lemma


def test_offsets_are_those_of_the_word():
    found = segment("Ankara'dakiler")
    assert (found.end, found.root) == (6, "Ankara")
    assert [(x.start, x.end) for x in found.suffixes] == [(7, 9), (9, 11), (11, 14)]
    assert all(found.word[x.start : x.end] == x.text for x in found.suffixes)
    assert found.boundaries() == (7, 9, 11)
    assert found.boundaries("derivation") == (9,)


def test_features_are_those_behind_the_last_derivation():
    assert segment("evlerimizden").nominal == ("A3pl", "P1pl", "Abl")
    assert segment("evdekiler").nominal == ("A3pl", "Pnon", "Nom")
    assert segment("önemli").dictionary_form == "önemli"
    assert segment("gözlüğü").dictionary_form == "gözlük"


@pytest.mark.parametrize("text", ["", "a", "xyz", "123", "'", "İ", "-lar", "ﬁ", "日本"])
def test_any_text_is_at_least_a_root(text):
    found = segment(text)
    assert found.word == text
    assert found.end == len(text) or found.suffixes


@pytest.fixture(scope="module")
def web():
    """Words whose annotation nothing was counted on, every third of them."""
    path = treebank_file("web")
    return list(annotated_words(path.read_text(encoding="utf-8"), str(path)))[::3]


def test_derivations_of_unseen_words(web):
    score = derivations(web)
    assert score.f1 >= 0.9
    assert score.gold > 1500


def test_number_possessive_and_case_of_unseen_nouns(web):
    nouns = nouns_of(web)
    assert nominal_shares(nouns)[0] >= 0.9
    assert len(nouns) > 3000
