import pytest

from benchmarks.gold_morphology import inflected_forms
from benchmarks.segmenter_measures import inharmonic
from mmrec_jax.turkish.harmony import harmony
from tests.turkish.gold import gold_file


def _verdicts(word):
    return [(x.vowel, x.rule, x.expected) for x in harmony(word)]


def test_every_suffix_vowel_has_its_rule():
    assert _verdicts("evlerimizde") == [
        ("e", "A", "e"),
        ("i", "H", "i"),
        ("i", "H", "i"),
        ("e", "A", "e"),
    ]
    assert _verdicts("gördüğümüz") == [("ü", "H", "ü"), ("ü", "H", "ü"), ("ü", "H", "ü")]


@pytest.mark.parametrize(
    ("word", "place", "expected"),
    [
        ("Ankara'de", 8, "a"),
        ("evlar", 3, "e"),
        ("kitapler", 6, "a"),
        ("yoldı", 4, "u"),
        ("gözi", 3, "ü"),
        ("EVLAR", 3, "e"),
    ],
)
def test_a_broken_vowel_is_found(word, place, expected):
    broken = [x for x in harmony(word) if not x.holds]
    assert [(x.place, x.expected) for x in broken] == [(place, expected)]


@pytest.mark.parametrize(
    "word",
    [
        "geliyorken",  # -yor and -ken never change
        "akşamki",
        "yoldaki",
        "akşamleyin",
        "yeşilimtırak",
        "amcamgil",
        "saatler",  # front suffixes behind a back vowel
        "rolü",
        "kalbi",
        "kabri",  # judged by kabir
        "söylüyor",  # judged by söylü-
        "kitap",  # a root, which is as it is
        "cumhurbaşkanı",
        "Yozgat'ta",
        "Flaubert'ü",  # how a foreign name is spoken is not known
        "futbolu",
        "futbolü",
    ],
)
def test_what_is_right_is_not_blamed(word):
    assert all(x.holds for x in harmony(word))


def test_an_exception_with_the_plain_suffix_is_wrong():
    assert [x.expected for x in harmony("saatlar")] == ["e"]


# Errors of the file: harmony wants -malı, -malısın.
_WRONG_FORMS = {
    "olmeli",
    "olmamelisiniz",
    "heyecanlandırmeli",
    "heyecanlandırmeliyim",
    "onamameliler",
    "programlattırmeliler",
}


def test_inflected_forms_of_a_dictionary_keep_harmony():
    words = inflected_forms(gold_file("sigmorphon2023-tur.dev.tsv"))
    assert len(words) > 800
    assert inharmonic(words) == _WRONG_FORMS
