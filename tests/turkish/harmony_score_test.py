import pytest

from mmrec_jax.turkish.harmony_score import vowel_harmony_score


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
def test_by_hand(text, expected):
    assert vowel_harmony_score([text]) == pytest.approx(expected)
