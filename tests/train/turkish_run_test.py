"""The Turkish parts in a whole run: what they write, and what they refuse."""

import json

import pytest

from mmrec_jax.evaluation.samples import beginnings
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import set_up
from tests.small_run import linear_config, session_text

_LENGTH = {"train__steps": 2, "train__eval_every": 2, "train__checkpoint_every": 2}


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    pytest.importorskip("sacrebleu", reason="chrF++ needs sacrebleu")
    workdir = tmp_path_factory.mktemp("run")
    config = linear_config(
        session_text(),
        **_LENGTH,
        objectives__vowel_harmony__weight=0.5,
        turkish__suffix_weight=2.0,
        turkish__scored_samples=1,
    )
    assert run(config, workdir) == 0
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["split"]: line for line in lines}


def test_objective_and_scores_are_logged(metrics):
    assert 0 < metrics["train"]["vowel_harmony"] < 1
    assert 0 < metrics["train"]["word_continuing"] < 1
    assert 0 < metrics["validation"]["vowel_harmony"] < 1
    assert metrics["validation"]["bits_per_byte"] > 0
    assert 0 <= metrics["turkish"]["overall_turkish_score"] <= 1
    assert metrics["turkish"]["vowel_harmony_score"] >= 0


def test_training_tokens_have_weights_and_validation_tokens_none(tmp_path):
    text = tmp_path / "suffixes.txt"
    text.write_text("evlerde göllerin yolları\n\ndenizden kuşlar geldi\n\n" * 20, "utf-8")
    config = linear_config(text, **_LENGTH, turkish__suffix_weight=2.0)
    prepared = set_up(config, tmp_path / "run", fresh=False)
    prepared.checkpointer.close()
    weights = prepared.data.train[0].weights
    assert set(weights.tolist()) == {1.0, 2.0}
    assert prepared.data.validation.weights is None
    batch = next(prepared.batches)
    assert set(batch["weights"].ravel().tolist()) == {0.0, 1.0, 2.0}
    assert ((batch["weights"] > 0) == (batch["segment_ids"] > 0)).all()
    assert set(prepared.objectives) == {"cross_entropy"}


def test_beginnings_go_on_where_the_document_does(tmp_path):
    config = linear_config(session_text(), **_LENGTH)
    prepared = set_up(config, tmp_path, fresh=False)
    prepared.checkpointer.close()
    data = prepared.data
    texts = [
        data.tokenizer.decode(data.validation.tokens[a + 1 : b - 1])
        for a, b in zip(data.validation.offsets[:-1], data.validation.offsets[1:], strict=True)
    ]
    pairs = beginnings(data.validation, data.tokenizer, 2, 20)
    assert pairs
    for prompt, rest in pairs:
        assert any(text.startswith(prompt + rest) for text in texts)
        assert len(prompt.split(" ")) == 8
        assert 18 <= len(rest.encode()) <= 20
    assert not beginnings(data.validation, data.tokenizer, 0, 20)
