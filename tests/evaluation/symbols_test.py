import json

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.data.huggingface_tokenizer import HuggingFaceTokenizer
from mmrec_jax.data.sentencepiece_tokenizer import train_sentencepiece
from mmrec_jax.evaluation.symbols import ordinary_ids, rare_ids

_TEXT = "Pijamalı hasta yağız şoföre çabucak güvendi. " * 3


def test_bytes_below_128_are_whole_characters():
    np.testing.assert_array_equal(ordinary_ids(ByteTokenizer()), np.arange(128))


def test_every_character_of_a_char_tokenizer_is_ordinary():
    np.testing.assert_array_equal(ordinary_ids(CharTokenizer("<>ab")), [2, 3, 4, 5])


def test_a_sentencepiece_model_has_no_special_id_and_no_byte_among_them():
    tokenizer = train_sentencepiece([_TEXT], "bpe", 320, "vocab_size")
    pieces = [tokenizer.id_to_piece(i) for i in ordinary_ids(tokenizer)]
    assert len(pieces) == 320 - 3 - 256
    assert "\n" in pieces
    assert not {"<unk>", "<s>", "</s>", "<0x41>"} & set(pieces)


def test_a_hugging_face_model_has_no_special_id_among_them():
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        [_TEXT],
        trainers.BpeTrainer(
            vocab_size=270,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = HuggingFaceTokenizer(json.dumps(json.loads(made.to_str())).encode(), "t.json")
    texts = [tokenizer.decode([i]) for i in ordinary_ids(tokenizer)]
    assert "<|endoftext|>" not in texts
    assert {"a", " "} <= set(texts)
    assert not any("\N{REPLACEMENT CHARACTER}" in text for text in texts)


def test_the_rarer_half_of_what_occurs():
    text = np.repeat([3, 4, 5, 6, 7, 0], [9, 1, 5, 2, 3, 1]).astype(np.int32)
    ordinary = np.array([3, 4, 5, 6, 7, 8, 9], np.int32)
    np.testing.assert_array_equal(rare_ids(ordinary, text), [4, 6, 7])
    assert not len(rare_ids(ordinary, np.zeros(0, np.int32)))
