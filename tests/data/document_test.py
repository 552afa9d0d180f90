import dataclasses

import pytest

from mmrec_jax.data.document import Document


def test_text_is_brought_to_nfc():
    assert Document("a", "s\u0327 I\u0307").text == "\u015f \u0130"
    assert Document("a", "\ufb01 \u00bd").text == "\ufb01 \u00bd"  # which NFKC would change


def test_utf8_is_that_of_the_text_in_nfc():
    assert Document("a", "s\u0327").utf8 == b"\xc5\x9f"


def test_line_ends_and_spaces_are_kept():
    assert Document("a", " a\r\n\tb \n").text == " a\r\n\tb \n"


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Document("a", "b").text = "c"


def test_it_is_known_whether_the_text_was_changed():
    assert Document("a", "s\u0327").composed
    assert not Document("a", "ş\u0331").composed  # normalised anew, and the same
    assert not Document("a", "abc").composed
    assert Document("a", "s\u0327") == Document("a", "ş")
