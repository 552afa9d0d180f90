"""Documents as tokens in memory, and as the data of a run."""

import numpy as np
import pytest

from mmrec_jax.data import token_store
from mmrec_jax.data.document import Document
from mmrec_jax.data.evaluation import evaluation_batches
from mmrec_jax.data.inspect import fill, inspect_rows
from mmrec_jax.data.token_store import TokenStore, cut_text, encode_long
from tests.small_data import refused


def stored(tokenizer, *texts):
    return TokenStore.from_documents(
        [Document(f"f:{n}", t) for n, t in enumerate(texts)], tokenizer
    )


def test_layout_and_counts_of_a_store(all_tokenizers):
    store = stored(all_tokenizers["byte"], "ş", "", "s\u0327\u00e7")
    expected = [256, 0xC5, 0x9F, 257, 256, 257, 256, 0xC5, 0x9F, 0xC3, 0xA7, 257]
    assert store.tokens.tolist() == expected
    assert store.tokens.dtype == np.int32
    assert store.offsets.tolist() == [0, 4, 6, 12]
    assert store.byte_counts.tolist() == [2, 0, 4]
    assert store.character_counts.tolist() == [1, 0, 2]
    assert (store.num_documents, store.num_pairs) == (3, 9)
    assert (store.num_bytes, store.num_characters) == (6, 3)
    with refused("f:1", "'q'"):
        stored(all_tokenizers["char"], "a", "q")
    with refused("corpus"):
        stored(all_tokenizers["byte"])


def test_the_fingerprint_sees_tokens_and_borders(all_tokenizers):
    texts = (("ab", "c"), ("a", "bc"), ("abc",), ("ab", "d"), ("ab", "c"))
    *prints, again = (stored(all_tokenizers["byte"], *each).fingerprint for each in texts)
    assert len(set(prints)) == 4
    assert again == prints[0]
    tokens, counts = np.arange(9, dtype=np.int32), np.ones(2, np.int64)
    first, second = (TokenStore(tokens, np.array([0, n, 9]), counts, counts) for n in (4, 5))
    assert first.fingerprint != second.fingerprint


# Long texts are encoded in parts.


def listen(tokenizer, monkeypatch):
    """The lengths of the texts that tokenizers of this class encode from now on, in their order."""
    lengths, encode = [], type(tokenizer).encode

    def recorded(self, text, **options):
        lengths.append(len(text))
        return encode(self, text, **options)

    monkeypatch.setattr(type(tokenizer), "encode", recorded)
    return lengths


@pytest.mark.parametrize("name", ["unigram", "bpe", "byte", "char", "json file"])
def test_parts_have_the_tokens_of_the_whole(all_tokenizers, texts, monkeypatch, name):
    whole, tokenizer = "\n".join(texts), all_tokenizers[name]
    expected = tokenizer.encode(whole)
    lengths = listen(tokenizer, monkeypatch)
    for size in (300, 1000):
        monkeypatch.setattr(token_store, "_PART", size)
        lengths.clear()
        found = encode_long(tokenizer, whole)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.int32
        assert max(lengths) <= size
        assert len(lengths) >= len(whole) // size - 1
    assert len(encode_long(tokenizer, "")) == 0


@pytest.mark.parametrize(
    "text",
    ["ab " * 700, "x" * 2000, "\n" * 1500, "a" + " " * 1999, "ş\u3000" * 999, "\U0001f600" * 999],
)
def test_parts_are_together_the_text(all_tokenizers, monkeypatch, text):
    parts = list(cut_text(text, 301))
    assert "".join(parts) == text
    assert max(map(len, parts)) in (300, 301)
    monkeypatch.setattr(token_store, "_PART", 301)
    for tokenizer in (all_tokenizers["byte"], all_tokenizers["unigram"]):
        assert tokenizer.decode(encode_long(tokenizer, text)) == text


# What rows hold, shown.


def test_rows_are_shown_with_their_segments_tokens_and_targets(all_tokenizers):
    tokenizer = all_tokenizers["byte"]
    (batch,) = evaluation_batches(stored(tokenizer, "b c\n", "\x1bx", "y"), 2, 9, carry=False)
    assert fill(batch) == 10 / 18
    shown = inspect_rows(batch, tokenizer).split("\n")
    assert [line.split()[0] for line in shown] == ["row", "[1]", "[2]", "row", "[1]"]
    assert shown[1].endswith("<s>|b|\u2581|c|\\n \u2192 </s>")
    assert inspect_rows(batch, tokenizer, max_rows=1).split("\n") == shown[:3]
    rows = {"inputs": [97, 98, 99], "targets": [99, 99, 97], "segment_ids": [1, 1, 1]}
    for weights, targets in (([1, 1, 1], "c|c|a"), ([0, 2, 0.5], "·|c|a")):
        batch = {name: np.array([values]) for name, values in {**rows, "weights": weights}.items()}
        assert targets in inspect_rows(batch, tokenizer)  # which are not the text
