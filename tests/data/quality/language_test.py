import math

import pytest

from mmrec_jax.data.manual import manual_documents
from mmrec_jax.data.quality.language import is_turkish, turkish_evidence
from mmrec_jax.data.split import fixed_split
from mmrec_jax.data.treebank import treebank_documents

_SENTENCES = {
    "English": "All human beings are born free and equal in dignity and rights.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "Chinese": "人人生而自由,在尊严和权利上一律平等。",
}


def test_the_treebank_is_turkish_and_the_manual_is_not():
    held_out = [d.text for d in treebank_documents() if fixed_split(d.name) != "train"]
    assert sum(map(is_turkish, held_out)) >= 0.98 * len(held_out)
    assert not any(is_turkish(document.text) for document in manual_documents())


@pytest.mark.parametrize("text", _SENTENCES.values(), ids=_SENTENCES)
def test_other_languages_are_not_turkish(text):
    assert not is_turkish(text)


def test_turkish_is():
    text = "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar."
    assert is_turkish(text)
    assert is_turkish(text.replace("i", "İ").upper())
    assert is_turkish("Butun insanlar hur, haysiyet ve haklar bakimindan esit dogarlar.")


def test_a_quotation_in_another_script_does_not_hide_turkish():
    assert is_turkish("Rusça “свобода” sözcüğünün Türkçe karşılığı özgürlüktür.")


def test_without_letters_there_is_no_evidence():
    assert turkish_evidence("") == turkish_evidence("12.05.2020 — 3 × 4 …") == 0.0
    assert not is_turkish("1923")


def test_evidence_is_the_mean_log_odds_of_the_letters():
    expected = math.log(4.48 / 1.42)  # k: of the other languages German has most
    assert turkish_evidence("kkkk") == pytest.approx(expected, abs=0.01)
    assert turkish_evidence("k1k2K") == pytest.approx(turkish_evidence("kkkk"))
    assert turkish_evidence("İ") == turkish_evidence("ı") > 6
