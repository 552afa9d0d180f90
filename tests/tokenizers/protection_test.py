"""Which pairs an extension leaves apart for the sake of English that it was never shown."""

import itertools
import re
from types import SimpleNamespace

import numpy as np
import pytest

from mmrec_jax.data.manual import manual_documents
from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.tokenizers.bpe_file import spell
from mmrec_jax.tokenizers.learning import pair_key
from mmrec_jax.tokenizers.library import read_library
from mmrec_jax.tokenizers.protection import Protection
from tests.tokenizers.small_base import ENGLISH, small_base

_MARKS = (",", ".", "(")
_PIECES = ("ment", " func", "ler", "lem", " her", " olarak", " daha", "ğ", "20", "05")


@pytest.fixture(scope="module")
def refuses():
    """Whether two tokens, given as text, are left apart, of which so many are in Turkish text."""
    manual = " ".join(document.text for document in manual_documents())
    english = sorted({" " + word for word in re.findall("[A-Za-z]+", manual)})
    tokens = [*dict.fromkeys((*_MARKS, *_PIECES, *english))]
    counts = SimpleNamespace(words={})
    for document in treebank_documents()[:400]:
        for word in document.text.split():
            counts.words[" " + word] = counts.words.get(" " + word, 0) + 1
    letters = sorted(set("".join(counts.words)) - set(tokens))
    vocab = {spell(token): index for index, token in enumerate([*tokens, *letters])}
    words = [[vocab[spell(letter)] for letter in word] for word in counts.words]
    offsets = [0, *itertools.accumulate(map(len, words))]
    columns = (list(itertools.chain(*words)), offsets, list(counts.words.values()))
    table = SimpleNamespace(words=lambda: tuple(map(np.array, columns)))
    text = SimpleNamespace(table=table, counts=np.array(columns[-1]))
    total = sum(counts.words.values())
    base, tokenizer = SimpleNamespace(vocab=vocab), read_library(small_base())

    def refuses(where, left, right, share, english=True):
        inside, across = Protection([ENGLISH], english).refusals(base, tokenizer, text, 1)
        pair = pair_key(*(vocab.get(spell(part), len(vocab)) for part in (left, right)))
        return {"inside": inside, "across": across}[where](pair, int(share * total))

    return refuses


@pytest.mark.parametrize(
    ("where", "left", "right", "share", "refused"),
    [
        ("across", ",", " her", 0.1, True),  # however common it is in the text
        ("across", " the", " function", 0.1, True),
        ("across", ".", "(", 0.1, True),
        ("across", " olarak", ",", 0, False),  # letters of the text
        ("across", " daha", " olarak", 0, False),
        ("across", ",", "ğ", 0, False),
        ("across", ",", "of new tokens", 0, False),
        ("inside", " func", "ment", 0, True),
        ("inside", " func", "ment", 0.1, False),  # but common
        ("inside", "20", "05", 0.1, True),  # of no language
        ("inside", "ler", "lem", 0, False),
        ("inside", "ğ", "ment", 0, False),
    ],
)
def test_a_pair_that_may_be_english_is_left_apart(refuses, where, left, right, share, refused):
    assert refuses(where, left, right, share) is refused
    assert not refuses(where, left, right, share, english=False)
