import pytest
from tokenizers import pre_tokenizers

from mmrec_jax.tokenizers.byte_alphabet import ALPHABET, spell, unspell


def test_it_is_that_of_the_library():
    assert set(pre_tokenizers.ByteLevel.alphabet()) == ALPHABET
    cutter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text = "".join(map(chr, range(1, 0x2FF))) + "ğ→𐍈\n"
    ((spelled, _),) = cutter.pre_tokenize_str(text)
    assert spell(text) == spelled
    assert unspell(spelled) == text.encode()


def test_a_character_that_is_no_byte_is_refused():
    with pytest.raises(KeyError):
        unspell("a b")
