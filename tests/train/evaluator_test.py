"""Which evaluators a run calls, with which model, and where what they find goes."""

import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from mmrec_jax import dora
from mmrec_jax.config import Config, TrainConfig, TurkishConfig
from mmrec_jax.data.document import Document
from mmrec_jax.data.kinds.instructions import TreebankInstructionsConfig
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.dora.adapted_model import adapt
from mmrec_jax.evaluation.registry import EVALUATORS, Evaluation, format_metrics
from mmrec_jax.models.noise import with_embedding_noise
from mmrec_jax.objectives.config import CrossEntropyConfig
from mmrec_jax.objectives.cross_entropy import CrossEntropy
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.chat_template import PLAIN
from mmrec_jax.train import evaluator
from mmrec_jax.train.evaluator import Evaluator, check_evaluators
from mmrec_jax.train.mesh import one_device
from tests.families import small
from tests.refused import refused

_TEXTS = ["bir iki göl köprü " * 6, "deniz yol kuş"]


class _Writer(list):
    def write(self, step, split, values):
        self.append((step, split, values))


@pytest.fixture
def reported(monkeypatch):
    """What was reported of each evaluation."""
    said = []

    def evaluated(bar, step, validation, sample):
        said.append((step, validation, sample))

    monkeypatch.setattr(evaluator.report, "evaluated", evaluated, raising=False)
    return said


def _data(kind=TreebankConfig):
    tokenizer = ByteTokenizer()
    tokenizer.chat_template = PLAIN
    documents = [Document(str(i), text) for i, text in enumerate(_TEXTS)]
    store = TokenStore.from_documents(documents, tokenizer)
    return TextDataset(kind(seq_len=16), tokenizer, store, store)


def _setup(path, model, data=None, scored=0, **train):
    train = {"dashboard": False, "sample_tokens": 0, "sample_prompt": "göl", **train}
    return SimpleNamespace(
        model=model,
        objectives={"cross_entropy": CrossEntropy(CrossEntropyConfig())},
        data=data or _data(),
        mesh=one_device(),
        workdir=SimpleNamespace(samples=path / "samples"),
        config=Config(
            data=TreebankConfig(seq_len=16),
            train=TrainConfig(steps=1, batch_size=2, **train),
            turkish=TurkishConfig(scored_samples=scored),
        ),
    )


def _evaluate(setup, params, step=7):
    writer, bar = _Writer(), SimpleNamespace(clear=lambda: None, refresh=lambda: None)
    result = Evaluator(setup, writer)(step, SimpleNamespace(params=params), bar)
    return result, writer


def test_every_split_is_written_and_the_sample_kept(tmp_path, reported, capsys):
    model, params = small("mmrec")
    setup = _setup(tmp_path, model, scored=2, dashboard=True, sample_tokens=5)
    validation, written = _evaluate(setup, params)
    assert [split for _, split, _ in written] == ["validation", "recurrence", "turkish"]
    assert written[0] == (7, "validation", validation)
    assert "state_rms" in written[1][2]
    assert isinstance(validation["tokens"], int)
    sample = (tmp_path / "samples" / "step_0000007.txt").read_text("utf-8")
    assert sample.startswith("göl")
    assert reported == [(7, validation, sample.rstrip("\n"))]
    assert format_metrics(written[2][2]) in capsys.readouterr().out


def test_a_model_with_adapters_and_noise_is_evaluated_as_what_it_is(tmp_path, reported):
    model, base = small("gru")
    rules = (dora.AdapterRule("inputs/kernel", 2, 4.0, "dora"),)
    adapted = with_embedding_noise(adapt(model, base, rules), 5.0)
    adapters = jax.tree.map(
        lambda x: x + 0.3, jax.jit(lambda key: adapted.init(key))(jax.random.key(0))
    )
    merged = dora.apply(base, adapters)
    expected, _ = _evaluate(_setup(tmp_path, model), merged)
    found, _ = _evaluate(_setup(tmp_path, adapted), adapters)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    assert found["loss"] != pytest.approx(_evaluate(_setup(tmp_path, model), base)[0]["loss"])


def test_a_family_without_a_dashboard_or_a_state_is_evaluated_too(tmp_path, reported):
    """And responds where it is trained on conversations."""
    for kind, begins in ((TreebankConfig, "göl"), (TreebankInstructionsConfig, "göl\n")):
        model, params = small("attention")
        setup = _setup(tmp_path, model, _data(kind), dashboard=True, sample_tokens=3)
        _, written = _evaluate(setup, params)
        assert [split for _, split, _ in written] == ["validation"]
        assert reported.pop()[2].startswith(begins)


def test_nothing_is_written_where_the_loss_is_not_finite(tmp_path, reported):
    model, params = small("gru")
    params = jax.tree.map(lambda x: x * np.nan, params)
    result, written = _evaluate(_setup(tmp_path, model, sample_tokens=3), params)
    assert math.isnan(result["loss"])
    assert not written
    assert not reported


def test_an_evaluator_from_outside(tmp_path, reported, monkeypatch):
    def steps(request):
        return Evaluation({"steps": request.step}, text="mine")

    monkeypatch.setitem(EVALUATORS._values, "mine", steps)
    setup = _setup(tmp_path, small("gru")[0], evaluators=("mine",))
    _, written = _evaluate(setup, small("gru")[1])
    assert written[1:] == [(7, "mine", {"steps": 7})]
    check_evaluators(Config(train=TrainConfig(steps=1, evaluators=("mine",))))
    unknown = Config(train=TrainConfig(steps=1, evaluators=("mine", "yours")))
    refused(lambda: check_evaluators(unknown), "config.train.evaluators", "yours")


def test_integers_are_shown_as_integers():
    assert format_metrics({"tokens": 174335, "loss": 1234.5}) == "tokens 174,335, loss 1,234.5000"
