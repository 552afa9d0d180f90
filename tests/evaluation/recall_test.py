import dataclasses
import math

import matplotlib.image
import numpy as np
import pytest

from mmrec_jax.curves import draw_panels
from mmrec_jax.evaluation.mqar import RecallScore
from mmrec_jax.evaluation.needle import NeedleScore
from mmrec_jax.evaluation.recall import ordinary_ids, recall_panels
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


def test_the_needle_is_drawn_where_it_was_asked_for(tmp_path):
    recall = [RecallScore(n, n, 1 / n, None, 1 / n, 3.0, None) for n in (1, 2)]
    score = NeedleScore(64, 1, 9.0, 9.0, 0.0, None)
    unknown = dataclasses.replace(score, distance=128, gain=math.nan)
    for needle in ([], [score], [score, unknown]):
        draw_panels(recall_panels(recall, needle), "run", tmp_path / "a.png")
        height, width, _ = matplotlib.image.imread(tmp_path / "a.png").shape
        assert (width > 2 * height) == bool(needle)
