"""Runs that version 0.1 wrote are read as it read them: the parameters bit for bit, then the text.

`expected.npz` and `expected.json` were computed by that version.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.load import read_adapters, read_model
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.data.files.reading import read_documents
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.evaluation.perplexity import loss
from mmrec_jax.evaluation.registry import EvaluationRequest
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.train.mesh import one_device
from mmrec_jax.tree import named_leaves
from tests.small_run import ROOT

_STEP = 4


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(Path(__file__).with_name("runs_of_0.1.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    return folder / "runs"


@pytest.mark.parametrize("name", ["plain", "objectives", "adapters"])
def test_every_parameter_is_the_one_that_was_written(runs, name):
    read = read_adapters(runs / name).adapters if name == "adapters" else None
    tree = read_model(runs / name).params if read is None else read
    prefix = f"{name}/{_STEP}/"
    with np.load(runs / "expected.npz") as stored:
        expected = {x.removeprefix(prefix): stored[x] for x in stored if x.startswith(prefix)}
    expected.pop("blocks/uboo/kernel", None)  # a parameter of the objective now
    found = named_leaves(tree)
    assert found.keys() == expected.keys()
    for leaf, value in expected.items():
        assert found[leaf].dtype == value.dtype
        assert np.asarray(found[leaf]).tobytes() == value.tobytes(), leaf


@pytest.mark.parametrize(
    ("name", "folder", "adapter"),
    [
        ("plain", "plain", None),
        ("adapters", "plain", "adapters"),
        ("adapters", "adapters", None),
        ("exported", "exported", None),
    ],
)
def test_a_model_predicts_and_writes_what_it_did(runs, name, folder, adapter):
    expected = json.loads((runs / "expected.json").read_text("utf-8"))[name]
    adapter = adapter and runs / adapter
    model, params, tokenizer = mmrec_jax.load(runs / folder, "last", adapter=adapter)
    documents = list(read_documents(str(runs / "words.txt")))
    config, _ = Workdir(runs / folder).read_config()
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
    (folder / "5" / "training" / "commit_success.txt").unlink()
    with pytest.raises(UserError, match=rf"training is incomplete; .* step is {_STEP}: "):
        checkpointer.resume_step()


_RESUME = """
import dataclasses, sys
from pathlib import Path
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.train.loop import run
folder = Path(sys.argv[1])
config, _ = Workdir(folder).read_config()
run(dataclasses.replace(config, train=dataclasses.replace(config.train, steps=8)), folder)
"""


def _resumed(runs, folder, name):
    """The trained leaves four steps later, and those that version 0.1 came to, by path."""
    shutil.copytree(runs, folder)
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",  # as they were written
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", _RESUME, name]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=240)
    adapted = name == "adapters"
    tree = read_adapters(folder / name).adapters if adapted else read_model(folder / name).params
    prefix = f"{name}/8/"
    with np.load(runs / "expected.npz") as stored:
        expected = {x.removeprefix(prefix): stored[x] for x in stored if x.startswith(prefix)}
    if name == "objectives":
        del expected["blocks/uboo/kernel"]  # a parameter of the objective now
    found = {leaf: np.asarray(value) for leaf, value in named_leaves(tree).items()}
    assert found.keys() == expected.keys()
    return found, expected


def test_a_run_goes_on_on_its_own_settings(runs, tmp_path):
    """The state carried, the moments and the random numbers are those of the old run."""
    found, expected = _resumed(runs, tmp_path / "runs", "plain")
    for leaf, value in expected.items():
        np.testing.assert_allclose(found[leaf], value, rtol=0, atol=2e-6, err_msg=leaf)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "bound"), [("plain", 0), ("objectives", 1e-6), ("adapters", 1e-5)]
)
def test_on_the_processor_that_wrote_it_a_run_goes_on_bit_for_bit(runs, tmp_path, name, bound):
    """UBOO's sums are made in another order since, and so differ by rounding."""
    found, expected = _resumed(runs, tmp_path / "runs", name)
    for leaf, value in expected.items():
        np.testing.assert_allclose(found[leaf], value, rtol=0, atol=bound, err_msg=leaf)
