import dataclasses
import math

import matplotlib.image
import numpy as np
import pytest

from mmrec_jax.curves import draw_panels
from mmrec_jax.evaluation.mqar import RecallScore
from mmrec_jax.evaluation.needle import DEPTHS, NeedleScore
from mmrec_jax.evaluation.recall import ordinary_ids, rare_ids, recall_panels
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.sentencepiece import train_sentencepiece
from tests.tokenizers.small_base import small_base

_TEXT = "Pijamalı hasta yağız şoföre çabucak güvendi. " * 3


def test_ids_of_whole_characters():
    np.testing.assert_array_equal(ordinary_ids(ByteTokenizer()), np.arange(128))
    np.testing.assert_array_equal(ordinary_ids(CharTokenizer("<>ab")), [2, 3, 4, 5])


@pytest.mark.parametrize("kind", ["sentencepiece", "json file"])
def test_neither_special_ids_nor_bytes_are_ordinary(kind):
    if kind == "sentencepiece":
        tokenizer = train_sentencepiece([_TEXT], "bpe", 320, "vocab_size")
        assert len(ordinary_ids(tokenizer)) == 320 - 3 - 256
    else:
        tokenizer = HuggingFaceTokenizer(small_base(), "x.json")
    texts = [tokenizer.decode([i]) for i in ordinary_ids(tokenizer)]
    tokens = {tokenizer.id_to_piece(i) for i in ordinary_ids(tokenizer)}
    assert not {"<unk>", "<s>", "</s>", "<0x41>", "<|endoftext|>"} & tokens
    assert not any("\N{REPLACEMENT CHARACTER}" in text for text in texts)
    assert {"a", " "} & set(texts)


def test_the_rarer_half_of_what_occurs():
    text = np.repeat([3, 4, 5, 6, 7, 0], [9, 1, 5, 2, 3, 1]).astype(np.int32)
    ordinary = np.array([3, 4, 5, 6, 7, 8, 9], np.int32)
    np.testing.assert_array_equal(rare_ids(ordinary, text), [4, 6, 7])
    assert not len(rare_ids(ordinary, np.zeros(0, np.int32)))


def test_the_needle_is_drawn_where_it_was_asked_for(tmp_path):
    recall = [RecallScore(n, n, 1 / n, None, 1 / n, 3.0, None) for n in (1, 2)]
    score = NeedleScore(9, 1, DEPTHS, (0.5,) * 11, (0.0,) * 11, (None,) * 11, 0.0)
    unknown = dataclasses.replace(score, length=12, profit=(math.nan,) * 11)
    more = [dataclasses.replace(score, length=length) for length in range(20, 30)]
    for needle in ([], [score], [score, unknown, *more]):
        draw_panels(recall_panels(recall, needle), "run", tmp_path / "a.png")
        height, width, _ = matplotlib.image.imread(tmp_path / "a.png").shape
        assert (width > 2 * height) == bool(needle)
