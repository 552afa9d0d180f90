import dataclasses

import pytest

from mmrec_jax.data.document import Document


def test_text_is_brought_to_nfc():
    assert Document("a", "s\u0327 I\u0307").text == "\u015f \u0130"
    assert Document("a", "\ufb01 \u00bd").text == "\ufb01 \u00bd"  # which NFKC would change


def test_line_ends_and_spaces_are_kept():
    assert Document("a", " a\r\n\tb \n").text == " a\r\n\tb \n"


def test_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Document("a", "b").text = "c"
