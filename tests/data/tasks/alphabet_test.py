import unicodedata

import pytest

from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.data.tasks.alphabet import alphabet


@pytest.mark.parametrize("size", [2, 10, 62, 63, 257, 20_001])
def test_characters_survive_a_tokenizer_and_its_file(size):
    symbols = alphabet(size)
    assert len(symbols) == size
    assert list(symbols) == sorted(set(symbols))
    assert unicodedata.normalize("NFC", symbols) == symbols
    assert symbols.isprintable()
    tokenizer = CharTokenizer.from_content(CharTokenizer(symbols).content, "file")
    assert tokenizer.encode(symbols).tolist() == list(range(2, 2 + size))


def test_a_smaller_alphabet_begins_a_larger_one():
    assert alphabet(300).startswith(alphabet(12))
    assert alphabet(12) == "0123456789AB"
