"""Documents are measured, read as often as they weigh, and a run that is continued knows both."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.config import Config, GuidedConfig
from mmrec_jax.data.chunks import Chunks
from mmrec_jax.data.guidance import Guidance, GuidedChunks, documents_of
from mmrec_jax.evaluation.registry import EvaluationRequest
from mmrec_jax.train.loop import run
from mmrec_jax.train.memory_guided import measure
from mmrec_jax.train.setup import set_up
from tests.refused import refused
from tests.small_run import assert_same_run, linear_config, session_text
from tests.small_text import LENGTHS, SOURCES

_GUIDED = {"guided__every": 3, "guided__windows": 8, "guided__reset_every": 8}


def _config(**fields):
    fields = {
        "train__steps": 8,
        "train__eval_every": 20,
        "train__checkpoint_every": 2,
        "train__keep_last": 9,
        "train__sample_tokens": 0,
        **_GUIDED,
        **fields,
    }
    return linear_config(session_text(), stages=[{"step": 6, "lr_factor": 0.5}], **fields)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(_config(), folder) == 0
    return folder


@pytest.mark.parametrize("step", [4, 6])
def test_a_run_continued_between_measurements_or_before_one_is_the_run_in_one(
    whole, tmp_path, step
):
    saved = Checkpointer(whole / "checkpoints", read_only=True)
    rounds = [(saved.read_meta(n)["guided"] or {"rounds": 0})["rounds"] for n in (2, 4, 6, 8)]
    assert rounds == [0, 1, 1, 2]
    shutil.copytree(whole, tmp_path / "run")
    assert run(_config(), tmp_path / "run", resume_step=step) == 0
    assert_same_run(_config(), whole, tmp_path / "run")


def test_a_document_weighs_the_mean_of_min_exp_gain_cap_over_its_measured_tokens(whole, tmp_path):
    """By NumPy, from logits of each window alone and of its parts alone."""
    shutil.copytree(whole, tmp_path / "run")
    config = _config(guided__cap=1.05)
    p = set_up(_config(), tmp_path / "run", fresh=False)
    request = EvaluationRequest(p.model, p.state.params, p.data, config, {}, p.mesh, 8)
    first = measure(request, None)
    assert first.rounds == 1
    assert 1 < len(first.weights) <= 8
    assert measure(request, first).weights.keys() > first.weights.keys()  # other windows

    def nll(window):
        logits = np.float64(p.model.apply(p.state.params, window.tokens[None, :-1]).logits[0])
        chosen = logits[np.arange(window.length), window.tokens[1:]]
        return np.log(np.exp(logits).sum(axis=-1)) - chosen

    chunks, seq_len = Chunks(p.data.train, config.data.seq_len), config.data.seq_len
    alone = np.bincount(documents_of(chunks)) == 1  # a single window, so that it was measured whole
    numbers = [n for n, d in enumerate(documents_of(chunks)) if d in first.weights and alone[d]]
    assert numbers
    for number in numbers:
        window = chunks[number]
        parts = [window.cut(at, min(at + 8, window.length)) for at in range(0, window.length, 8)]
        gain = np.concatenate([nll(part) for part in parts]) - nll(window)
        weight = np.mean(np.minimum(np.exp(gain), 1.05))
        document = int(documents_of(chunks)[number])
        np.testing.assert_allclose(first.weights[document], weight, rtol=1e-5)
        assert 8 < window.length <= seq_len


def test_chunks_come_as_often_as_their_documents_weigh():
    chunks, rounds = Chunks(SOURCES["stored"], 16), 400
    documents = documents_of(chunks)
    long = np.unique(documents[chunks.lengths > 8])
    weights = {int(d): 1.0 + (d % 3) / 2 for d in long[:-5]}
    counts, tokens = np.zeros(len(chunks)), 0
    for number in range(1, rounds + 1):
        found = GuidedChunks(chunks, Guidance(number, weights, 8), 0, seed=1)
        counts += np.bincount(found._index, minlength=len(chunks))
        tokens += found.lengths.sum()
    assert tokens / rounds == pytest.approx(chunks.lengths.sum(), rel=0.01)
    unknown = np.mean(list(weights.values()))
    expected = np.ones(len(LENGTHS))
    expected[long] = [weights.get(int(d), unknown) for d in long]
    times = expected[documents] / np.average(expected[documents], weights=chunks.lengths)
    np.testing.assert_allclose(counts / rounds, times, atol=0.13)  # five standard errors
    again = GuidedChunks(chunks, Guidance(1, weights, 8), 0, seed=1)
    np.testing.assert_array_equal(again[3].tokens, chunks[int(again._index[3])].tokens)
    assert list(again._index) != list(found._index)
    guidance = Guidance(3, weights, 8)
    assert Guidance.from_json(json.loads(json.dumps(dataclasses.asdict(guidance)))) == guidance


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"guided__reset_every": 64}, ["config.guided.reset_every", "data.seq_len"]),
        ({"train__carry_state": True}, ["config.guided.every", "train.carry_state"]),
    ],
)
def test_a_run_that_it_does_not_suit_is_refused(fields, parts):
    refused(lambda: _config(**fields), *parts)


def test_it_is_off_by_default():
    assert Config().guided.every == 0
    assert dataclasses.replace(Config(), guided=GuidedConfig(reset_every=10**6)).guided.every == 0
