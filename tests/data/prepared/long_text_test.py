import numpy as np
import pytest

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.prepared import long_text
from mmrec_jax.data.prepared.long_text import encode_long
from mmrec_jax.data.sentencepiece_tokenizer import train_sentencepiece
from mmrec_jax.data.treebank import treebank_documents


@pytest.fixture(scope="module")
def text():
    return "\n".join(document.text for document in treebank_documents()[:40])


class _Counting(ByteTokenizer):
    """Remembers how long the texts were."""

    def __init__(self):
        super().__init__()
        self.lengths = []

    def encode(self, text):
        self.lengths.append(len(text))
        return super().encode(text)


@pytest.mark.parametrize("kind", ["byte", "unigram"])
def test_the_tokens_are_those_of_the_whole_text(text, kind, monkeypatch):
    tokenizer = (
        ByteTokenizer() if kind == "byte" else train_sentencepiece([text], "unigram", 400, "x")
    )
    expected = tokenizer.encode(text)
    for piece in (300, 1000, 5000):
        monkeypatch.setattr(long_text, "_PIECE", piece)
        assert np.array_equal(encode_long(text, tokenizer), expected)
    assert len(encode_long("", tokenizer)) == 0


def test_no_piece_is_much_longer_than_asked_for(text, monkeypatch):
    monkeypatch.setattr(long_text, "_PIECE", 2000)
    tokenizer = _Counting()
    encode_long(text, tokenizer)
    assert len(tokenizer.lengths) > 5
    assert max(tokenizer.lengths) <= 4000 + max(map(len, text.split("\n")))


class _Joining(ByteTokenizer):
    """Has one token for a newline with an "e" behind it."""

    def _encode(self, text):
        return np.frombuffer(text.replace("\ne", "\0").encode(), np.uint8).astype(np.int32)


@pytest.mark.parametrize("text", ["abc\nefgh\n" * 100, "abcd\nefgh\n" * 5 + "x" * 900, "\ne" * 900])
def test_a_text_is_cut_only_where_it_changes_no_token(text, monkeypatch):
    monkeypatch.setattr(long_text, "_PIECE", 100)
    tokenizer = _Joining()
    assert np.array_equal(encode_long(text, tokenizer), tokenizer.encode(text))
