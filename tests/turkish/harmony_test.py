import unicodedata

import pytest

from benchmarks.harmony_detector import detect, twins
from benchmarks.segmenter import inflected_forms, inharmonic
from mmrec_jax.data.treebank import treebank_file
from mmrec_jax.turkish.counts import words_with_letters
from mmrec_jax.turkish.harmony import harmony, text_harmony, vowel_harmony_score
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


# By kind; each line has forms that are right, and below it some that are not.
_KINDS = [
    (  # invariant suffixes; -kü after three words of time
        "geliyorken akşamki yoldaki yeşilimtırak amcamgil dünkü bugünkü öbürkü evdekiler",
        "geliyorkan akşamkı yoldakı haftakı haftaku dünki bugünki evdekı amcamgıl gelabilir",
    ),
    (  # loanwords with front suffixes after a back vowel, listed or by their palatal l
        "saatler rolü kalbi metali metaller iştiraki vaadi istimlaki helaki metropolü haddi",
        "saatlar rolu kalbı metalı metallar iştirakı vaadı istimlakı helakı metropolu",
    ),
    (  # Turkish words in l; compounds; roots as such; vowels that drop; both forms
        "ilkokulu karayolu davulu masalı İspanyollar cumhurbaşkanı kitap mesela kabri söylüyor",
        "ilkokulü karayolü davulü masali İspanyoller cumhurbaşkani kitapler kabrı söylıyor",
    ),
    ("futbolu futbolü hukuku hukuki hâli kâğıdı rüzgârı kabûlü hâlâ", "hâlalar hâllar kâğıdi"),
    (  # numbers, by their last word
        "3'te 1990'larda %20'si 63'ü 63’ü 1.000'i 100'ü 40'ı 0'dan 2.'si 90lar 10000000'u",
        "3'ta 1990'lerde %20'sı 63'u 63’u 1.000'ı 100'u 40'i 0'den 2.'sı 90ler 10000000'i",
    ),
    ("3,5'i 3,5'u 18:00'de 18:00'da 12:30'da XIV'ün", "3,4'u 18:10'de 12:30'de"),
    (  # abbreviations, by the name of their last letter, or spoken as a word
        "ABD'ye ABD'nin TBMM'nin AVM'ye PKK'ya PKK'ye MİT'in GAP'a UNESCO'ya DNA'sı HIV'in A'dan",
        "ABD'ya ABD'nın TBMM'nın AVM'ya PKK'yu CHP'lı MİT'un UNESCO'ye DNA'si IBM'ın A'den",
    ),
    ("İSTANBUL'DA km'ye km'ya kg'dan A.Ş.'ye X'in", "İSTANBUL'DE A.Ş.'ya"),
    (  # names, if they are spelled as Turkish is
        "Ankara'da Ankara‘da Ankara＇da Merkel'in Kur'an'ı Kemal'e Boston'un Clinton'ın",
        "Ankara'de Ankara‘de Ankara＇de Merkel'ın Kur'an'i Kemal'a Boston'ün",
    ),
    ("Flaubert'ü Shakespeare'in Shakespeare'ın Docker'ı Mike'ın Meral'e Ünal'a Yozgat'ta", ""),
    # Azerbaijani, and Ottoman spelling.
    ("evlərdə müəllimi babasiyle gelüp devletlü gelmişdür geldüñ kānūnı", "gelıp babasıyle"),
]


@pytest.mark.parametrize(("right", "wrong"), _KINDS)
def test_what_is_wrong_is_blamed_and_what_is_right_is_not(right, wrong):
    assert inharmonic(right.split()) == set()
    assert inharmonic(wrong.split()) == set(wrong.split())
    decomposed = unicodedata.normalize("NFD", wrong).replace("i", "i\u0307")
    assert len(inharmonic(decomposed.split())) == len(wrong.split())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("geldi mi?", "geldi mı?"),
        ("okul mu", "okul mü"),
        ("saat mi", "saat mı"),
        ("3 mü", "3 mu"),
        ("ABD mi", "ABD mı"),
        ("geliyor musunuz", "geliyor müsün"),
        ("Ankara mıydı", "Ankara miydi"),
        ("Shakespeare mi", "geldi mi gelmedi mı"),
    ],
)
def test_a_question_particle_is_judged_by_the_word_before_it(right, wrong):
    assert all(vowel.holds for vowel in text_harmony(right))
    assert not all(vowel.holds for vowel in text_harmony(wrong))


def test_indices_in_a_text_are_those_of_its_letters():
    text = "Evler 3'te mi"
    found = text_harmony(unicodedata.normalize("NFD", text))
    assert [(x.index, x.vowel) for x in found] == [(3, "e"), (9, "e"), (12, "i")]
    assert all(text[x.index] == x.vowel for x in found)


def test_a_text_in_another_language_is_not_judged():
    text = "Azərbaycan Respublikasının əhalisi çoxdur, saatlar və rolu haqqında məlumat verildi."
    assert text_harmony(text) == []
    assert vowel_harmony_score([text]) == 1


def test_words_of_any_length_are_read():
    assert harmony("ev" + "ler" * 1000) == ()  # longer than any word
    assert len(harmony("ev" + "ler" * 20)) <= 20
    assert vowel_harmony_score(["a" * 1_000_000]) == 1


def test_the_detector_on_words_that_were_not_counted():
    """An eighth of the distinct words of the treebank's web part, and their twins."""
    path = treebank_file("web")
    words = words_with_letters(path.read_text("utf-8"), str(path))
    pairs = list(twins((word.form, word.lemma) for word in words))[::8]
    found = detect(pairs)
    assert len(pairs) > 900
    assert found.precision >= 0.97
    assert found.recall >= 0.94


# Errors of the file: harmony wants -malı, -malısın.
_WRONG_FORMS = """
olmeli olmamelisiniz heyecanlandırmeli heyecanlandırmeliyim onamameliler programlattırmeliler
kaşımameliler yontulmameli
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
        ("haftakı yolda", 1 / 2),  # a wrong vowel of an invariant suffix counts
        ("geldi mı", 1 / 2),
    ],
)
def test_the_score_by_hand(text, expected):
    assert vowel_harmony_score([text]) == pytest.approx(expected)
