import numpy as np
import pytest

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.data.document import Document
from mmrec_jax.data.sentencepiece_tokenizer import train_sentencepiece
from mmrec_jax.errors import UserError
from mmrec_jax.turkish.suffix_weights import SuffixWeights

_DOCUMENT = Document("x", "Evlerde 3 göl, kitapçılar.")


def _expected():
    """A mark for each letter: behind ev- and kitap-."""
    marks = ["x" if 2 <= i < 7 or 20 <= i < 25 else "." for i in range(len(_DOCUMENT.text))]
    assert (
        "".join(x for x, m in zip(_DOCUMENT.text, marks, strict=True) if m == "x") == "lerdeçılar"
    )
    return marks


def test_every_character_behind_a_root_has_the_weight():
    tokenizer = CharTokenizer.from_texts([_DOCUMENT.text])
    weights = SuffixWeights(3.0)(_DOCUMENT, tokenizer.encode(_DOCUMENT.text), tokenizer)
    assert weights.dtype == np.float32
    assert weights.tolist() == [3.0 if mark == "x" else 1.0 for mark in _expected()]


def test_bytes_of_one_letter_have_the_same_weight():
    tokenizer = ByteTokenizer()
    ids = tokenizer.encode(_DOCUMENT.text)
    weights = SuffixWeights(0.5)(_DOCUMENT, ids, tokenizer)
    marks = [m for x, m in zip(_DOCUMENT.text, _expected(), strict=True) for _ in x.encode()]
    assert weights.tolist() == [0.5 if mark == "x" else 1.0 for mark in marks]


def test_pieces_belong_to_where_their_first_letter_is():
    texts = [_DOCUMENT.text, "evlerde kitapçılar göl"] * 30
    tokenizer = train_sentencepiece(texts, "unigram", 280, "x")
    ids = tokenizer.encode(_DOCUMENT.text)
    weights = SuffixWeights(2.0)(_DOCUMENT, ids, tokenizer)
    marks, place = _expected(), 0
    for index, weight in zip(ids.tolist(), weights.tolist(), strict=True):
        piece = tokenizer.decode([index])
        begin = place + len(piece) - len(piece.lstrip())
        assert weight == (2.0 if marks[min(begin, len(marks) - 1)] == "x" else 1.0), piece
        place += len(piece)
    assert set(weights.tolist()) == {1.0, 2.0}


def test_a_tokenizer_that_loses_letters_is_refused():
    class Lossy(ByteTokenizer):
        def _encode(self, text):
            return super()._encode(text.replace("Ev", "ev"))

    tokenizer = Lossy()
    with pytest.raises(UserError, match=r"x: the tokenizer does not spell .*suffix_weight"):
        SuffixWeights(2.0)(_DOCUMENT, tokenizer.encode(_DOCUMENT.text), tokenizer)
