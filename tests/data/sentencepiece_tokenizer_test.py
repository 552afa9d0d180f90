import io
import re

import pytest
import sentencepiece

from mmrec_jax.data import sentencepiece_tokenizer
from mmrec_jax.data.sentencepiece_tokenizer import SentencePieceTokenizer, train_sentencepiece
from mmrec_jax.errors import UserError

FIELD = "config.tokenizer.vocab_size"


def pieces_of(tokenizer):
    pieces = [tokenizer.id_to_piece(index) for index in range(tokenizer.vocab_size)]
    return [piece.replace("\u2581", " ") for piece in pieces]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_training_is_deterministic_and_exact_in_size(texts, kind):
    first, second = (train_sentencepiece(texts, kind, 320, FIELD) for _ in range(2))
    assert first.content == second.content
    assert first.vocab_size == 320
    assert (first.id_to_piece(1), first.id_to_piece(2)) == ("<s>", "</s>")
    assert (first.bos_id, first.eos_id) == (1, 2)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_case_and_digits_are_kept_apart_and_newline_is_a_piece(texts, kind):
    tokenizer = train_sentencepiece(texts, kind, 320, FIELD)
    ids = tokenizer.encode("1234\n\n").tolist()
    assert [tokenizer.id_to_piece(index) for index in ids[-2:]] == ["\n", "\n"]
    assert len(ids) == 6
    assert tokenizer.encode("IŞIK").tolist() != tokenizer.encode("ışık").tolist()


@pytest.mark.parametrize(("kind", "vocab_size"), [("unigram", 274), ("bpe", 290)])
def test_very_long_lines_are_learnt_from(kind, vocab_size):
    # 4,192 bytes is the library's default limit, beyond which a line is dropped in silence.
    line = "uzunsatırlar uzunsatırda uzunsatır " * 700
    tokenizer = train_sentencepiece(["kısa metin " * 3, line], kind, vocab_size, FIELD)
    assert any("uzunsatır" in piece for piece in pieces_of(tokenizer))


def test_huge_text_is_thinned_evenly(monkeypatch):
    lines = ["ilkyarı " * 20] * 100 + ["ikinciyarı " * 20] * 100
    monkeypatch.setattr(sentencepiece_tokenizer, "_MAX_TRAINING_CHARACTERS", 2000)
    pieces = pieces_of(train_sentencepiece(lines, "bpe", 285, FIELD))
    assert {" ilkyarı", " ikinciyarı"} <= set(pieces)


@pytest.mark.parametrize("separator", ["\n", "\0", "\u2581", "\u2585"])
def test_lines_with_reserved_characters_are_learnt_from(separator):
    text = (f"çalışkan {separator} " * 200) + "x"
    tokenizer = train_sentencepiece([text], "bpe", 285, FIELD)
    assert any("çalışkan" in piece for piece in pieces_of(tokenizer))


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_too_large_vocabulary_names_field_and_the_largest_that_works(texts, kind):
    with pytest.raises(UserError, match=r"config\.tokenizer\.vocab_size is 90000;") as caught:
        train_sentencepiece(texts, kind, 90000, FIELD)
    largest = int(re.search(r"allows at most (\d+)$", str(caught.value))[1])
    assert train_sentencepiece(texts, kind, largest, FIELD).vocab_size == largest
    with pytest.raises(UserError, match="allows at most"):
        train_sentencepiece(texts, kind, largest + 1, FIELD)


def test_too_small_vocabulary_names_the_smallest_that_works(texts):
    with pytest.raises(UserError, match=r"needs at least (\d+)$") as caught:
        train_sentencepiece(texts, "bpe", 100, FIELD)
    smallest = int(re.search(r"(\d+)$", str(caught.value))[1])
    assert train_sentencepiece(texts, "bpe", smallest, FIELD).vocab_size == smallest
    with pytest.raises(UserError, match="needs at least"):
        train_sentencepiece(texts, "bpe", smallest - 1, FIELD)


@pytest.mark.parametrize("texts", [[], [""], ["\n\n", "\0"]])
def test_nothing_to_learn_from(texts):
    with pytest.raises(UserError, match="the training text is empty"):
        train_sentencepiece(texts, "unigram", 300, FIELD)


def test_training_is_silent(texts, capfd):
    train_sentencepiece(texts, "unigram", 320, FIELD)
    with pytest.raises(UserError):
        train_sentencepiece(texts, "unigram", 90000, FIELD)
    assert capfd.readouterr() == ("", "")


def _plain_model(texts, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for text in texts for line in text.split("\n")),
        model_writer=model,
        minloglevel=2,
        **options,
    )
    return model.getvalue()


@pytest.mark.parametrize("options", [{"vocab_size": 60}, {"vocab_size": 320, "byte_fallback": 1}])
def test_foreign_model_decodes_as_its_library_does(texts, options):
    # The library's defaults: a space is put in front, runs of spaces are shortened.
    content = _plain_model(texts, hard_vocab_limit=False, **options)
    tokenizer = SentencePieceTokenizer(content, "x.model")
    assert tokenizer.decode(tokenizer.encode("  bir   iki ")) == "bir iki"
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)


def test_begin_falls_back_to_end_and_end_is_found_by_name(texts):
    content = _plain_model(
        texts,
        vocab_size=60,
        hard_vocab_limit=False,
        bos_id=-1,
        eos_id=-1,
        control_symbols=["<|endoftext|>"],
    )
    tokenizer = SentencePieceTokenizer(content, "x.model")
    assert tokenizer.id_to_piece(tokenizer.eos_id) == "<|endoftext|>"
    assert tokenizer.bos_id == tokenizer.eos_id


def test_model_without_end_and_damaged_model(texts):
    content = _plain_model(texts, vocab_size=60, hard_vocab_limit=False, bos_id=-1, eos_id=-1)
    with pytest.raises(
        UserError, match=r"x\.model: the model has no end-of-text piece; one of </s>"
    ):
        SentencePieceTokenizer(content, "x.model")
    for damaged in (b"", b"not a model", content[: len(content) // 2]):
        with pytest.raises(UserError, match=r"x\.model: this is not a sentencepiece model"):
            SentencePieceTokenizer(damaged, "x.model")
