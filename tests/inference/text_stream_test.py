import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrec_jax.inference.generate import TextStream
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.sentencepiece import train_sentencepiece

_BYTES = ByteTokenizer()
_WORDS = ["göl kıyısında çiçek", "İstanbul ☃ köprü", "  iki  boşluk ", "ağaç\n\nışık"]


@pytest.fixture(scope="module")
def tokenizers():
    texts = [f"{word} {other} {i}" for i, word in enumerate(_WORDS * 9) for other in _WORDS]
    return {
        "byte": _BYTES,
        "char": CharTokenizer.from_texts(texts),
        "unigram": train_sentencepiece(texts, "unigram", 296, "config.tokenizer.vocab_size"),
        "bpe": train_sentencepiece(texts, "bpe", 296, "config.tokenizer.vocab_size"),
    }


def _streamed(tokenizer, prompt, tokens):
    stream = TextStream(tokenizer, list(prompt))
    return [stream.push(int(token)) for token in tokens], stream.finish()


def _decoded(tokenizer, prompt, tokens):
    before = tokenizer.decode([*prompt])
    return tokenizer.decode([*prompt, *tokens])[len(before) :]


@pytest.mark.parametrize("kind", ["byte", "char", "unigram", "bpe"])
def test_parts_join_to_the_text(tokenizers, kind):
    tokenizer = tokenizers[kind]
    for prompt in ("", "göl", "  iki  boşluk göl köprü çiçek "):
        begin = [tokenizer.bos_id, *tokenizer.encode(prompt)]
        for text in _WORDS:
            tokens = tokenizer.encode(text)
            parts, rest = _streamed(tokenizer, begin, tokens)
            assert "".join(parts) == _decoded(tokenizer, begin, tokens)
            assert rest == ""
            assert "\N{REPLACEMENT CHARACTER}" not in "".join(parts)


def test_a_character_appears_with_its_last_byte_and_not_before():
    parts, rest = _streamed(_BYTES, [256], "aş☃b".encode())
    assert parts == ["a", "", "ş", "", "", "☃", "b"]
    assert rest == ""
    # One that is cut off is told at the end.
    assert _streamed(_BYTES, [256], "a☃".encode()[:-1]) == (
        ["a", "", ""],
        "\N{REPLACEMENT CHARACTER}",
    )


@settings(max_examples=40)
@given(
    prompt=st.text(max_size=12),
    tokens=st.lists(
        st.one_of(st.integers(0, 257), st.sampled_from([*"ğ☃𐍈".encode()])), max_size=30
    ),
)
def test_any_bytes_join_to_what_decoding_all_of_them_gives(prompt, tokens):
    begin = [256, *_BYTES.encode(prompt)]
    parts, rest = _streamed(_BYTES, begin, tokens)
    assert "".join(parts) + rest == _decoded(_BYTES, begin, tokens)


@pytest.mark.parametrize("kind", ["byte", "char", "unigram", "bpe"])
def test_a_stream_goes_on_from_its_tail(tokenizers, kind):
    tokenizer = tokenizers[kind]
    tokens = tokenizer.encode("".join(_WORDS)).tolist()
    for cut in range(len(tokens)):
        first = TextStream(tokenizer, [tokenizer.bos_id])
        told = [first.push(token) for token in tokens[:cut]]
        second = TextStream(tokenizer, first.tail, first.pending)
        told += [second.push(token) for token in tokens[cut:]]
        assert "".join(told) == "".join(_WORDS)


def test_cost_does_not_grow_with_the_text(monkeypatch):
    longest = []
    decode = ByteTokenizer.decode

    def counted(self, ids):
        longest.append(len(ids))
        return decode(self, ids)

    monkeypatch.setattr(ByteTokenizer, "decode", counted)
    _streamed(_BYTES, _BYTES.encode("x" * 1000), "göl kıyısı ".encode() * 50)
    assert max(longest) < 20
