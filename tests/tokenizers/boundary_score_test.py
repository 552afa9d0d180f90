"""Borders counted by hand, of tokenizers that spell the space before a word and that do not."""

import io

import pytest
import sentencepiece

from mmrec_jax.data.sentencepiece_tokenizer import train_sentencepiece
from mmrec_jax.tokenizers.boundary_score import score_boundaries
from mmrec_jax.tokenizers.encoder import Encoder

_LINES = ["gölde evde yolda gölden evden yoldan", "göl ev yol", "de da den dan"] * 20


def _default_model():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_LINES),
        model_writer=model,
        model_type="bpe",
        vocab_size=30,
        add_dummy_prefix=True,
        minloglevel=2,
    )
    return model.getvalue()


def _exact_model():
    return train_sentencepiece(_LINES, "bpe", 290, "vocab_size").content


@pytest.mark.parametrize("model", [_default_model, _exact_model])
def test_borders_are_places_in_the_word(tmp_path, model):
    path = tmp_path / "a.model"
    path.write_bytes(model())
    encoder = Encoder(path, "--tokenizer")
    processor = sentencepiece.SentencePieceProcessor(model_proto=path.read_bytes())
    for word in ("gölden", "gölev", "yoldan"):
        pieces = processor.encode(f" {word}", out_type=str)
        assert "".join(pieces) == f"\u2581{word}"
        borders = {len("".join(pieces[:count])) - 1 for count in range(1, len(pieces))} - {0}
        assert borders
        score = score_boundaries(encoder, {word: borders})
        assert score.both == score.piece_boundaries == score.morpheme_boundaries == len(borders)
        assert score.whole_words == 0
