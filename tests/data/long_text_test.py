import numpy as np
import pytest

from mmrec_jax.data import long_text
from mmrec_jax.data.long_text import encode_long


@pytest.mark.parametrize("name", ["unigram", "bpe", "byte", "char", "json file"])
def test_pieces_have_the_tokens_of_the_whole(all_tokenizers, texts, monkeypatch, name):
    whole = "\n".join(texts)
    monkeypatch.setattr(long_text, "_PIECE_CHARACTERS", 700)
    lengths = []
    tokenizer = all_tokenizers[name]
    encode = type(tokenizer).encode

    def listen(self, text):
        lengths.append(len(text))
        return encode(self, text)

    monkeypatch.setattr(type(tokenizer), "encode", listen)
    pieces = encode_long(tokenizer, whole)
    assert max(lengths) <= 700
    assert len(lengths) > len(whole) // 700
    np.testing.assert_array_equal(pieces, encode(tokenizer, whole))
    assert pieces.dtype == np.int32


@pytest.mark.parametrize("text", ["ab " * 700, "x" * 2000, "\n" * 1500, "a" + " " * 1999])
def test_text_without_lines_loses_nothing(all_tokenizers, monkeypatch, text):
    monkeypatch.setattr(long_text, "_PIECE_CHARACTERS", 600)
    for tokenizer in (all_tokenizers["byte"], all_tokenizers["unigram"]):
        assert tokenizer.decode(encode_long(tokenizer, text)) == text
