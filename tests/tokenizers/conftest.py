"""A small Turkish text and one tokenizer of each kind."""

import io
import json

import pytest
import sentencepiece
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.byte_bpe import train_byte_bpe
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.sentencepiece import SentencePieceTokenizer, train_sentencepiece

_STEMS = ("bir", "iki", "göl", "köprü", "çiçek", "ağaç", "ışık", "İstanbul", "IŞIK", "deniz")
_SUFFIXES = ("", "ler", "lar", "de", "da", "den", "in", "ın", "imiz", "lerimiz", "siz", "ce")
_WORDS = [stem + suffix for suffix in _SUFFIXES for stem in _STEMS]
TEXTS = [
    " ".join(_WORDS[(i * j + i) % len(_WORDS)] for j in range(2 + i % 9)) + f" {i}.\n  son"
    for i in range(120)
]
KINDS = ["unigram", "bpe", "byte_bpe", "byte", "char", "model file", "json file"]


def model_file(**options):
    """A sentencepiece model, by default as its library makes it."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(" ".join(TEXTS).split("\n")),
        model_writer=content,
        minloglevel=2,
        hard_vocab_limit=False,
        **{"vocab_size": 330, "byte_fallback": True, **options},
    )
    return content.getvalue()


@pytest.fixture(scope="session")
def texts():
    return TEXTS


@pytest.fixture(scope="session")
def hugging_face_json():
    """A byte-level BPE file as published models have it."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return json.dumps(json.loads(tokenizer.to_str())).encode()


@pytest.fixture(scope="session")
def all_tokenizers(hugging_face_json):
    unigram = train_sentencepiece(TEXTS, "unigram", 320, "config.tokenizer.vocab_size")
    return {
        "unigram": unigram,
        "bpe": train_sentencepiece(TEXTS, "bpe", 320, "config.tokenizer.vocab_size"),
        "byte_bpe": train_byte_bpe(TEXTS, 320, "config.tokenizer.vocab_size"),
        "byte": ByteTokenizer(),
        "char": CharTokenizer.from_texts(TEXTS),
        "model file": SentencePieceTokenizer(unigram.content, "x.model"),
        "json file": HuggingFaceTokenizer(hugging_face_json, "tokenizer.json"),
    }
