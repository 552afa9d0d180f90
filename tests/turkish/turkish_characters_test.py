import pytest

from mmrec_jax.turkish.turkish_characters import turkish_char_accuracy


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("cay içtiğim", "çay içtiğim", 2 / 3),
        ("isik", "ışık", 0),
        ("ışık", "isik", 0),
        ("IŞIK İŞ", "IŞIK İŞ", 1),
        ("ISIK IS", "IŞIK İŞ", 0),  # Ş, İ and Ş lost
        ("kapi", "kapı", 0),
        ("", "çok", 0),
        ("çok", "", 0),
        ("bu ev", "bu ev", 1),
        ("o gün çok güzel", "çok güzel", 2 / 3),  # ç and ü kept, one ü invented
        ("go\u0308l", "göl", 1),
    ],
)
def test_by_hand(prediction, reference, expected):
    assert turkish_char_accuracy([prediction], [reference]) == pytest.approx(expected)


def test_counts_are_summed_over_texts():
    both = turkish_char_accuracy(["çok", "sis"], ["çok", "şiş"])
    assert both == pytest.approx(1 / 3)


def test_number_of_texts_must_agree():
    with pytest.raises(ValueError, match="shorter"):
        turkish_char_accuracy(["a"], [])
