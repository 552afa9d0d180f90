import pytest

from mmrec_jax.turkish.consonants import VOICELESS, voice_last


@pytest.mark.parametrize(
    ("stem", "voiced"),
    [
        ("kitap", "kitab"),
        ("ağaç", "ağac"),
        ("git", "gid"),
        ("ekmek", "ekmeğ"),
        ("renk", "reng"),
        ("katalog", "kataloğ"),
        ("lig", "lig"),
        ("taş", "taş"),
    ],
)
def test_the_last_consonant(stem, voiced):
    assert voice_last(stem) == voiced


def test_the_voiceless_ones_are_those_of_the_school_mnemonic():
    assert frozenset("fıstıkçı şahap") - frozenset("ıa ") == VOICELESS
