import unicodedata

from mmrec_jax.data.document import Document
from mmrec_jax.data.quality.cleaning import clean


def _clean(text):
    document, count = clean(Document("a", text))
    return document.text, count


def test_text_without_control_characters_is_left_alone():
    document = Document("a", "Ağaç\n\tışık\u00a0\u200b")
    assert clean(document) == (document, 0)


def test_every_control_character_but_tab_and_newline_goes():
    for code in range(0x250):
        character = chr(code)
        expected = character
        if unicodedata.category(character) == "Cc" and character not in "\t\n":
            expected = "\n" if character == "\r" else ""
        assert _clean(f"x{character}y")[0] == f"x{expected}y"


def test_carriage_returns_become_newlines():
    assert _clean("a\r\nb\rc\r\r\nd") == ("a\nb\nc\n\nd", 4)


def test_the_rest_is_in_normal_form_c_again():
    assert _clean("s\0\u0327") == ("ş", 1)


def test_the_name_is_kept():
    assert clean(Document("f:3", "\0a"))[0].name == "f:3"
