"""Byte-level BPE (GPT-2; Radford et al. 2019) trained here, with the pre-tokeniser of Qwen2 and 3.

What comes out is a `tokenizer.json`: `transformers` loads it, and `mmrec tokenizer extend` adds
tokens and superwords to it.
"""

import re
from collections.abc import Iterable

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer

# What the pre-tokenisers of GPT-4, Llama 3 and Qwen split text into, in the syntax of Oniguruma.
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
CONTRACTION = f"(?i:{'|'.join(CONTRACTIONS)})"
WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
MARKS = r" ?[^\s\p{L}\p{N}]+"
SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
ONE_DIGIT = r"\p{N}"
END = "<|endoftext|>"  # begins and ends a text
# The trainer takes tens of bytes of memory for each byte of a part, so it gets some lines at a
# time; empty lines stay with the line before them.
_PARTS = re.compile(r"(?:[^\n]*\n+){1,64}|[^\n]+")


def split_expression(digits: str) -> str:
    """The expression of such a pre-tokeniser, in which `digits` are a word."""
    return f"{CONTRACTION}|{WORD}|{digits}|{MARKS}[\\r\\n]*|{SPACE}"


def train_byte_bpe(texts: Iterable[str], vocab_size: int, field: str) -> HuggingFaceTokenizer:
    """Trains a tokenizer; the same texts and size give the same bytes, on any number of threads.

    Id 0 is `END`, the next 256 are the bytes, and each further one joins two tokens that stand side
    by side in a word at least twice. `texts` are NFC; errors call `vocab_size`, the exact number of
    ids, `field`.

    Raises:
      UserError: there is no text, or `vocab_size` is too small or too large for it.
    """
    parts = [part for text in texts for part in _PARTS.findall(text)]
    if not parts:
        raise UserError("the training text is empty: there is nothing to train a tokenizer on")
    library = tokenizers.Tokenizer(models.BPE())
    library.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(tokenizers.Regex(split_expression(ONE_DIGIT)), "isolated")
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.pre_tokenizer = pre_tokenizers.Sequence([split, spell])
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    start = f'{field} is {vocab_size}; with tokenizer.kind "byte_bpe" this training text'
    least = 1 + len(alphabet)
    if vocab_size < least:
        raise UserError(f"{start} needs at least {least}")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[END],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    library.train_from_iterator(parts, trainer)
    if library.get_vocab_size() < vocab_size:
        raise UserError(f"{start} allows at most {library.get_vocab_size()}")
    content = library.to_str(pretty=True).encode()
    return HuggingFaceTokenizer(content, "the byte_bpe model trained here")
