"""What is cleaned from documents, and which of them are kept."""

import math
import unicodedata

import pytest

from mmrec_jax.data.document import Document
from mmrec_jax.data.manual import manual_documents
from mmrec_jax.data.quality.cleaning import clean
from mmrec_jax.data.quality.document_filter import DocumentFilter
from mmrec_jax.data.quality.language import is_turkish, turkish_evidence
from mmrec_jax.data.split import fixed_split
from mmrec_jax.data.treebank import treebank_documents


def _clean(text):
    document, count = clean(Document("f:3", text))
    assert document.name == "f:3"
    return document.text, count


def test_every_control_character_but_tab_and_newline_goes():
    document = Document("a", "Ağaç\n\tışık\u00a0\u200b")
    assert clean(document) == (document, 0)
    for code in range(0x250):
        character = chr(code)
        expected = character
        if unicodedata.category(character) == "Cc" and character not in "\t\n":
            expected = "\n" if character == "\r" else ""
        assert _clean(f"x{character}y")[0] == f"x{expected}y"
    assert _clean("a\r\nb\rc\r\r\nd") == ("a\nb\nc\n\nd", 4)
    assert _clean("s\0\u0327") == ("ş", 1)  # in normal form C again


def test_without_limits_only_the_empty_are_refused():
    keep = DocumentFilter()
    assert [keep.refuse(text) for text in ("a", " \n\t", "")] == [None, "empty", "empty"]


def test_lengths_are_of_the_characters_between_the_white_space_at_the_ends():
    keep = DocumentFilter(min_chars=2, max_chars=4)
    answers = [keep.refuse(text) for text in (" a ", "şı", " a c ", "\nabcd", "abcde")]
    assert answers == ["too_short", None, None, None, "too_long"]


def test_the_language_is_asked_last():
    keep = DocumentFilter(min_chars=4, language="tr")
    texts = ("the", "the other thing", "bütün ağaçlar")
    assert [keep.refuse(text) for text in texts] == ["too_short", "language", None]
    assert DocumentFilter().refuse("the other thing") is None


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


@pytest.mark.parametrize(
    "text",
    [
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
        "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.".replace(
            "i", "İ"
        ).upper(),
        "Butun insanlar hur, haysiyet ve haklar bakimindan esit dogarlar.",
        "Rusça “свобода” sözcüğünün Türkçe karşılığı özgürlüktür.",
    ],
)
def test_turkish_is_in_capitals_without_dots_and_with_quotations_too(text):
    assert is_turkish(text)


def test_evidence_is_the_mean_log_odds_of_the_letters():
    expected = math.log(4.48 / 1.42)  # k: of the other languages German has most
    assert turkish_evidence("kkkk") == pytest.approx(expected, abs=0.01)
    assert turkish_evidence("k1k2K") == pytest.approx(turkish_evidence("kkkk"))
    assert turkish_evidence("İ") == turkish_evidence("ı") > 6
    # Without letters there is none.
    assert turkish_evidence("") == turkish_evidence("12.05.2020 — 3 × 4 …") == 0.0
    assert not is_turkish("1923")
