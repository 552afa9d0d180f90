"""Runs that version 0.1 wrote are read as it read them: the parameters bit for bit, then the text.

`expected.npz` and `expected.json` were computed by that version.
"""

import json
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.load import read_adapters, read_model
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config_file import with_overrides
from mmrec_jax.data.document import Document
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.evaluation.perplexity import loss
from mmrec_jax.evaluation.registry import EvaluationRequest
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.train.loop import run
from mmrec_jax.train.mesh import one_device
from mmrec_jax.train.setup import set_up
from mmrec_jax.tree import named_leaves
from tests.refused import refused
from tests.small_run import assert_same_bits, linear_config, session_text

_STEP = 4


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(Path(__file__).with_name("runs_of_0.1.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder / "runs"


@pytest.mark.parametrize("name", ["plain", "objectives", "adapters"])
def test_every_parameter_is_the_one_that_was_written(runs, name):
    adapted = name == "adapters"
    tree = read_adapters(runs / name).adapters if adapted else read_model(runs / name).params
    prefix = f"{name}/{_STEP}/"
    with np.load(runs / "expected.npz") as stored:
        expected = {x.removeprefix(prefix): stored[x] for x in stored if x.startswith(prefix)}
    expected.pop("blocks/uboo/kernel", None)  # a parameter of the objective now
    assert_same_bits(named_leaves(tree), expected)


@pytest.mark.parametrize("name", ["plain", "adapters", "exported"])
def test_a_model_predicts_and_writes_what_it_did(runs, name):
    expected = json.loads((runs / "expected.json").read_text("utf-8"))[name]
    model, params, tokenizer = mmrec_jax.load(runs / name, "last")
    texts = (runs / "words.txt").read_text("utf-8").strip().split("\n\n")
    documents = [Document(str(number), text) for number, text in enumerate(texts)]
    config, _ = Workdir(runs / name).read_config()
    split = SimpleNamespace(validation=TokenStore.from_documents(documents, tokenizer))
    request = EvaluationRequest(model, params, split, config, {}, one_device(), _STEP)
    np.testing.assert_allclose(loss(request).metrics["loss"], expected["loss"], rtol=1e-5)
    greedy = Sampling(temperature=0)
    texts = mmrec_jax.generate(model, params, tokenizer, "bir iki", max_tokens=24, sampling=greedy)
    assert texts[0] == expected["greedy"]


def test_old_checkpoints_are_listed_and_their_loss_counts(runs, tmp_path):
    folder = shutil.copytree(runs / "plain" / "checkpoints", tmp_path / "checkpoints")
    shutil.copytree(folder / str(_STEP), folder / "5")
    (folder / "5" / "metrics" / "metrics").write_text('{"validation_loss": 99.0}')
    checkpointer = Checkpointer(folder, read_only=True)
    assert checkpointer.all_steps() == [_STEP, 5]
    assert checkpointer.choose("best") == _STEP
    assert checkpointer.resume_step() == 5
    assert checkpointer.read_meta(_STEP)["format"] == 1


@pytest.mark.parametrize("name", ["plain", "objectives", "adapters"])
def test_a_run_is_not_continued_and_the_line_says_what_to_do(runs, name, monkeypatch):
    monkeypatch.chdir(runs)
    config = with_overrides(Workdir(Path(name)).read_config()[0], ["--config.train.devices=1"])
    files = {path for path in runs.rglob("*") if path.name != ".lock"}
    remedies = "--fresh", f"--config.init_from={name}", "--workdir"
    refused(lambda: run(config, Path(name)), f"{name}/checkpoints/{_STEP}", "0.1", *remedies)
    assert {path for path in runs.rglob("*") if path.name != ".lock"} == files


@pytest.mark.parametrize("name", ["plain", "objectives", "exported"])
def test_another_run_begins_with_it(runs, name, tmp_path):
    config = linear_config(session_text(), init_from=runs / name, train__steps=1)
    state = set_up(config, tmp_path, fresh=False).state
    assert_same_bits(state.params, read_model(runs / name).params)
