import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from mmrec_jax.evaluation.recall import (
    draw_recall,
    first_rank,
    most_pairs,
    ordinary_ids,
    rare_ids,
    score_recall,
)
from mmrec_jax.models.api import Output
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.sentencepiece import train_sentencepiece
from tests.evaluation.copier import VOCABULARY, Copier, Uniform

_IDS = np.arange(4, 38, dtype=np.int32)  # 17 keys, 17 values
_PAIRS = (1, 2, 12)


def _score(model, **options):
    options = {"begin_id": 1, "sequences": 5, "rows": 3, **options}
    return score_recall(model, None, _IDS, _PAIRS, **options)


@pytest.mark.parametrize("begin_id", [1, None])
def test_a_model_that_copies_recalls_everything(begin_id):
    read = []
    scores = _score(Copier(), begin_id=begin_id, on_read=read.append)
    for count, score in zip(_PAIRS, scores, strict=True):
        assert (score.pairs, score.queries, score.chance) == (count, 5 * count, 1 / count)
        assert (score.accuracy, score.error) == (1.0, 0.0)
        others = np.log(np.exp(9) + VOCABULARY - 1)
        assert score.right_nll == pytest.approx(others - 9, abs=1e-5)
        if count > 1:
            assert score.other_nll == pytest.approx(others, abs=1e-5)
    assert scores[0].other_nll is None
    assert sum(read) == 5 * sum(3 * count + (begin_id is not None) for count in _PAIRS)


def test_a_model_that_knows_nothing_is_at_chance():
    for score in _score(Uniform()):
        assert score.accuracy == pytest.approx(score.chance, abs=1e-12)
        assert score.right_nll == pytest.approx(np.log(VOCABULARY), abs=1e-5)


@jax.tree_util.register_static
class _FirstValue:
    """The answer is always the first pair's value, the token at index 1, whichever key is asked."""

    state_batch_axes = (0, 0)

    def initial_state(self, rows):
        return jnp.zeros(rows, jnp.int32), jnp.zeros(rows, jnp.int32)

    def apply(self, params, tokens, state, segment_ids):
        first, calls = state
        first = jnp.where(calls == 0, tokens[:, 1], first)
        logits = 5.0 * (jnp.arange(VOCABULARY)[None, None] == first[:, None, None])
        logits = jnp.broadcast_to(logits, (*tokens.shape, VOCABULARY))
        return Output(logits, (first, calls + 1), {}, {})


def test_a_model_that_names_the_first_value_is_right_once_in_a_sequence():
    for score in _score(_FirstValue(), begin_id=None, sequences=1):
        assert score.accuracy == pytest.approx(1 / score.pairs)
        assert score.error is None


def test_a_sequence_is_by_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(20):
        tokens, values, answers = draw_recall(rng, _IDS, 12, 1)
        assert len(tokens) == 1 + 3 * 12
        keys, shown, asked = tokens[1:25:2], tokens[2:25:2], tokens[25:]
        np.testing.assert_array_equal(shown, values)
        assert sorted(asked) == sorted(keys)
        assert len(set(keys)) == len(set(values)) == 12
        assert set(keys) <= set(_IDS[:17])
        assert set(values) <= set(_IDS[17:])
        table = dict(zip(keys, values, strict=True))
        np.testing.assert_array_equal(values[answers], [table[key] for key in asked])


def test_how_many_rows_are_read_at_once_changes_nothing():
    expected, other = (_score(Copier(), rows=rows) for rows in (5, 2))
    for a, b in zip(expected, other, strict=True):
        assert (a.pairs, a.accuracy) == (b.pairs, b.accuracy)
        assert a.right_nll == pytest.approx(b.right_nll, abs=1e-5)


def test_half_of_the_ids_are_keys():
    assert most_pairs(_IDS) == 17
    assert most_pairs(_IDS[:5]) == 2


@pytest.mark.parametrize(
    ("nll", "right", "expected"),
    [
        ([1.0, 2.0, 3.0], 0, 1.0),
        ([1.0, 2.0, 3.0], 2, 0.0),
        ([2.0, 2.0, 3.0], 1, 0.5),
        ([2.0, 2.0, 2.0], 0, 1 / 3),
        ([2.0, 2.0, 1.0], 0, 0.0),
        ([5.0], 0, 1.0),
        ([np.nan, 1.0], 0, 0.0),
        ([1.0, np.nan], 0, 0.0),
    ],
)
def test_the_first_rank_is_shared_among_equals(nll, right, expected):
    assert first_rank(np.array(nll), np.array(right)) == expected


def test_leading_axes_are_independent():
    nll = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(float)
    right = np.random.default_rng(1).integers(0, 6, (4, 5))
    for i, j in np.ndindex(4, 5):
        assert first_rank(nll, right)[i, j] == first_rank(nll[i, j], right[i, j])


_TEXT = "Pijamalı hasta yağız şoföre çabucak güvendi. " * 3


def test_bytes_below_128_are_whole_characters():
    np.testing.assert_array_equal(ordinary_ids(ByteTokenizer()), np.arange(128))


def test_every_character_of_a_char_tokenizer_is_ordinary():
    np.testing.assert_array_equal(ordinary_ids(CharTokenizer("<>ab")), [2, 3, 4, 5])


def test_a_sentencepiece_model_has_no_special_id_and_no_byte_among_them():
    tokenizer = train_sentencepiece([_TEXT], "bpe", 320, "vocab_size")
    tokens = [tokenizer.id_to_piece(i) for i in ordinary_ids(tokenizer)]
    assert len(tokens) == 320 - 3 - 256
    assert "\n" in tokens
    assert not {"<unk>", "<s>", "</s>", "<0x41>"} & set(tokens)


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
