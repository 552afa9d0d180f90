import numpy as np
import pytest

from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.sentencepiece import train_sentencepiece
from mmrec_jax.turkish.vowel_table import VOWEL_CLASSES, broken_classes, vowel_table
from tests.tokenizers.small_base import small_base

_TEXTS = ["evlerde köylerin yolları ", "okulların gözleri Işık'ta İzmir'e âlimî "] * 40


def _class(vowel):
    return VOWEL_CLASSES.index(vowel) + 1 if vowel else 0


# Token after a letter: continues, first, sets, last.
_EXPECTED = {
    "ler": (True, "e", True, "e"),
    "ları": (True, "a", True, "ı"),
    " ev": (False, "", True, "e"),
    "n": (True, "", False, ""),
    " ": (False, "", True, ""),
    "in ": (True, "i", True, ""),
    "de k": (True, "e", True, ""),
    "yo": (True, "", True, "o"),
    "İ": (True, "i", True, "i"),
    "I": (True, "ı", True, "ı"),
    "lî": (True, "", True, "i"),
    "'": (True, "", False, ""),
    "´da": (True, "a", True, "a"),
    "": (False, "", True, ""),
    None: (True, "", True, ""),  # part of a character
}


def test_tokens_by_hand(monkeypatch):
    monkeypatch.setattr("mmrec_jax.turkish.vowel_table.piece_texts", lambda _: list(_EXPECTED))
    table = vowel_table(ByteTokenizer())
    rows = zip(table.continues, table.first, table.sets, table.last, strict=True)
    for row, (text, (continues, first, sets, last)) in zip(rows, _EXPECTED.items(), strict=True):
        assert row == (continues, _class(first), sets, _class(last)), text


_TOKENIZERS = {
    "unigram": lambda: train_sentencepiece(_TEXTS, "unigram", 286, "x"),
    "byte": ByteTokenizer,
    "char": lambda: CharTokenizer.from_texts(_TEXTS),
    "json file": lambda: HuggingFaceTokenizer(small_base(), "x.json"),
}


@pytest.mark.parametrize("kind", _TOKENIZERS)
def test_classes_along_a_text_are_those_of_its_letters(kind):
    """The table read token by token against the letters of the text so far."""
    tokenizer = _TOKENIZERS[kind]()
    table = vowel_table(tokenizer)
    ids = tokenizer.encode("evlerde yolları Işık'ta")
    state, compared = 0, 0
    in_bytes = kind in ("byte", "json file")
    for count, index in enumerate(ids.tolist(), 1):
        state = int(table.last[index]) if table.sets[index] else state
        so_far = tokenizer.decode(ids[:count])
        if "\ufffd" in so_far or (in_bytes and ord(so_far[-1]) > 127):
            assert state == 0  # not known until the next whole vowel
            continue
        word = so_far.replace("Işık'ta", "ışık'ta").replace("Iş", "ış").replace("I", "ı")
        vowels = [x for x in word.split(" ")[-1] if x in VOWEL_CLASSES]
        if in_bytes and vowels and vowels[-1] in "ıöü":
            continue
        compared += 1
        assert state == (_class(vowels[-1]) if vowels else 0), (so_far, state)
    assert compared > 3


def test_special_ids_end_the_word():
    tokenizer = ByteTokenizer()
    table = vowel_table(tokenizer)
    for index in (tokenizer.bos_id, tokenizer.eos_id):
        assert table.sets[index]
        assert table.last[index] == table.first[index] == 0
        assert not table.continues[index]


def test_what_breaks_harmony_is_lewis_table():
    """Lewis (2000), I 24: after each vowel, the two-fold and the four-fold suffix vowel."""
    table = broken_classes()
    assert table.shape == (9, 7)
    assert not table[0].any()
    assert not table[:, 0].any()
    kept = {"a": "aı", "ı": "aı", "o": "au", "u": "au", "e": "ei", "i": "ei", "ö": "eü", "ü": "eü"}
    for before, allowed in kept.items():
        good = {vowel for vowel in "aeıiuü" if not table[_class(before), _class(vowel)]}
        assert good == set(allowed), before
    assert np.count_nonzero(table) == 8 * 4
