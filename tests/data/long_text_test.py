import numpy as np
import pytest

from mmrec_jax.data import long_text
from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.long_text import encode_long


def _listen(tokenizer, monkeypatch):
    """The lengths of the texts that tokenizers of this class encode from now on, in their order."""
    lengths = []
    encode = type(tokenizer).encode

    def listen(self, text):
        lengths.append(len(text))
        return encode(self, text)

    monkeypatch.setattr(type(tokenizer), "encode", listen)
    return lengths


@pytest.mark.parametrize("name", ["unigram", "bpe", "byte", "char", "json file"])
def test_pieces_have_the_tokens_of_the_whole(all_tokenizers, texts, monkeypatch, name):
    whole, tokenizer = "\n".join(texts), all_tokenizers[name]
    expected = tokenizer.encode(whole)
    lengths = _listen(tokenizer, monkeypatch)
    for piece in (300, 1000):
        monkeypatch.setattr(long_text, "_PIECE", piece)
        lengths.clear()
        pieces = encode_long(tokenizer, whole.encode())
        np.testing.assert_array_equal(pieces, expected)
        assert pieces.dtype == np.int32
        assert max(lengths) <= 2 * piece
        assert sum(length >= piece for length in lengths) > len(whole) // (2 * piece)
    assert len(encode_long(tokenizer, b"")) == 0


@pytest.mark.parametrize("text", ["ab " * 700, "x" * 2000, "\n" * 1500, "a" + " " * 1999])
def test_text_without_lines_loses_nothing(all_tokenizers, monkeypatch, text):
    monkeypatch.setattr(long_text, "_PIECE", 300)
    for tokenizer in (all_tokenizers["byte"], all_tokenizers["unigram"]):
        lengths = _listen(tokenizer, monkeypatch)
        assert tokenizer.decode(encode_long(tokenizer, text.encode())) == text
        assert 300 < max(lengths) <= 600


class _Joining(ByteTokenizer):
    """Has one token for a newline with an "e" behind it, and one for white space with "ab"."""

    def _encode(self, text):
        for joined, token in (("\ne", "\0"), (" ab", "\1"), ("\nab", "\1")):
            text = text.replace(joined, token)
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)


@pytest.mark.parametrize(
    "text",
    [
        "abc\nefgh\n" * 100,  # some newlines will do
        "abcd\nefgh\n" * 5 + "x" * 900,  # none in most pieces
        "\ne" * 900,  # none will do: a word end does
        "xyz ab" * 200,  # no newline: a word end does
    ],
)
def test_a_cut_changes_no_token_where_one_can_be_had_that_does_not(text, monkeypatch):
    monkeypatch.setattr(long_text, "_PIECE", 50)
    monkeypatch.setattr(long_text, "_CONTEXT", 10)
    tokenizer = _Joining()
    expected = tokenizer.encode(text)
    lengths = _listen(tokenizer, monkeypatch)
    np.testing.assert_array_equal(encode_long(tokenizer, text.encode()), expected)
    assert max(lengths) <= 100
    assert sum(length > 20 for length in lengths) >= len(text) // 100
