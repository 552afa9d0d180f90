import pytest

from benchmarks.segmenter import inflected_forms, inharmonic
from mmrec_jax.turkish.harmony import harmony, vowel_harmony_score
from tests.turkish.gold import gold_file


def test_every_suffix_vowel_has_its_rule():
    judged = [(x.index, x.vowel, x.rule, x.expected) for x in harmony("evlerimizden")]
    expected = [(3, "e", "A", "e"), (5, "i", "H", "i"), (7, "i", "H", "i"), (10, "e", "A", "e")]
    assert judged == expected
    assert [(x.vowel, x.rule) for x in harmony("gördüğümüz")] == [("ü", "H")] * 3


@pytest.mark.parametrize(
    ("word", "index", "expected"),
    [
        ("Ankara'de", 8, "a"),
        ("evlar", 3, "e"),
        ("kitapler", 6, "a"),
        ("yoldı", 4, "u"),
        ("gözi", 3, "ü"),
        ("EVLAR", 3, "e"),
        ("saatlar", 5, "e"),  # an exception with the plain suffix
    ],
)
def test_a_broken_vowel_is_found(word, index, expected):
    broken = [x for x in harmony(word) if not x.holds]
    assert [(x.index, x.expected) for x in broken] == [(index, expected)]


# Suffixes that never change; front suffixes after a back vowel; judged by kabir, by söylü-; a root;
# a compound; foreign names, whose pronunciation is not known; both forms.
_RIGHT = """
geliyorken akşamki yoldaki akşamleyin yeşilimtırak amcamgil saatler rolü kalbi kabri söylüyor kitap
cumhurbaşkanı Yozgat'ta Flaubert'ü futbolu futbolü
"""


@pytest.mark.parametrize("word", _RIGHT.split())
def test_what_is_right_is_not_blamed(word):
    assert all(x.holds for x in harmony(word))


# Errors of the file: harmony wants -malı, -malısın.
_WRONG_FORMS = """
olmeli olmamelisiniz heyecanlandırmeli heyecanlandırmeliyim onamameliler programlattırmeliler
"""


def test_inflected_forms_of_a_dictionary_keep_harmony():
    words = inflected_forms(gold_file("sigmorphon2023-tur.dev.tsv"))
    assert len(words) > 800
    assert inharmonic(words) == set(_WRONG_FORMS.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("evlarde kaldık", 1 / 3),
        ("evlerde kaldık", 1),
        ("evlar", 0),
        ("kitap otobüs 3", 1),  # roots alone: nothing to judge
        ("", 1),
    ],
)
def test_the_score_by_hand(text, expected):
    assert vowel_harmony_score([text]) == pytest.approx(expected)
