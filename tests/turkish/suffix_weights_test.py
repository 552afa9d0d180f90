import numpy as np
import pytest

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.sentencepiece import train_sentencepiece
from mmrec_jax.turkish.suffix_weights import SuffixWeights

_TEXT = "Evlerde 3 göl, kitapçılar."
_MARKS = "..xxxxx.............xxxxx."  # after ev- and kitap-
_DOCUMENT = Document("x", _TEXT)


@pytest.mark.parametrize(
    ("tokenizer", "marks"),
    [
        (CharTokenizer.from_texts([_TEXT]), _MARKS),
        (ByteTokenizer(), "".join(m * len(x.encode()) for x, m in zip(_TEXT, _MARKS, strict=True))),
    ],
    ids=["characters", "bytes of one letter weigh the same"],
)
def test_everything_after_a_root_has_the_weight(tokenizer, marks):
    weights = SuffixWeights(3.0)(_DOCUMENT, tokenizer.encode(_TEXT), tokenizer)
    assert weights.dtype == np.float32
    assert weights.tolist() == [3.0 if mark == "x" else 1.0 for mark in marks]


def test_two_dots_are_one_letter():
    text = "i\u0307yilerde i\u0307yi"
    weights = SuffixWeights(3.0)(Document("x", text), ByteTokenizer().encode(text), ByteTokenizer())
    assert weights.tolist() == [1.0] * 5 + [3.0] * 5 + [1.0] * 6


def test_tokens_belong_to_where_their_first_letter_is():
    texts = [_TEXT, "evlerde kitapçılar göl"] * 30
    tokenizer = train_sentencepiece(texts, "unigram", 280, "x")
    ids = tokenizer.encode(_TEXT)
    weights = SuffixWeights(2.0)(_DOCUMENT, ids, tokenizer)
    offset = 0
    for index, weight in zip(ids.tolist(), weights.tolist(), strict=True):
        text = tokenizer.decode([index])
        begin = offset + len(text) - len(text.lstrip())
        assert weight == (2.0 if _MARKS[min(begin, len(_MARKS) - 1)] == "x" else 1.0), text
        offset += len(text)
    assert set(weights.tolist()) == {1.0, 2.0}


def test_a_tokenizer_that_loses_letters_is_refused():
    class Lossy(ByteTokenizer):
        def _encode(self, text):
            return super()._encode(text.replace("Ev", "ev"))

    tokenizer = Lossy()
    with pytest.raises(UserError, match=r"^x: .*config\.turkish\.suffix_weight"):
        SuffixWeights(2.0)(_DOCUMENT, tokenizer.encode(_TEXT), tokenizer)
