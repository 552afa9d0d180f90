"""A small tokenizer of Qwen3's make, and Turkish text to extend it by."""

import functools
import json
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

QWEN_REGEX = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ENGLISH = "The cat sat on the mat, and the dog didn't see it. In the end they'd all be there.\n" * 3

_STEMS = "göl köprü çiçek ağaç ışık deniz yol kitap öğrenci şehir İstanbul Ankara"
_SUFFIXES = ("", "ler", "lar", "de", "da", "den", "in", "ın", "imiz", "lerimiz", "siz", "'da")
_PHRASES = ("bir şey", "ne var ki", "olduğu için", "ya da", "her şeyden önce", "değil mi?")


def turkish(lines: int = 300) -> str:
    """Words, phrases and marks in an order that a formula gives."""
    found, stems = [], _STEMS.split()
    for i in range(lines):
        words = []
        for j in range(3 + i % 7):
            stem = stems[(i * j + 3 * i + j) % len(stems)]
            words.append(stem + _SUFFIXES[(5 * i + j * j) % len(_SUFFIXES)])
        words.insert(i % 3, _PHRASES[i * i % len(_PHRASES)])
        found.append(", ".join([" ".join(words[:2]), " ".join(words[2:])]) + f". {i}\n")
    return "".join(found)


@functools.cache
def small_base() -> bytes:
    """tokenizer.json: 60 merges learned on English, special tokens after the vocabulary."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN_REGEX), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=316,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([ENGLISH], trainer)
    tokenizer.add_special_tokens(list(SPECIAL))
    return json.dumps(json.loads(tokenizer.to_str())).encode()


def write_base(folder: Path) -> Path:
    """The small tokenizer as a file."""
    path = folder / "tokenizer.json"
    path.write_bytes(small_base())
    return path
