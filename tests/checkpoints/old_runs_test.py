"""Runs that version 0.1 wrote are read as it read them: the parameters bit for bit, then the text.

`expected.npz` and `expected.json` were computed by that version.
"""

import json
import shutil
import tarfile
from pathlib import Path

import jax
import numpy as np
import pytest
from mmrec_jax.evaluation.evaluate import evaluate

import mmrec_jax
from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.trained_model import read_adapters, read_model
from mmrec_jax.data.sources import read_documents
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.train.mesh import one_device
from mmrec_jax.train.step import make_eval_step
from mmrec_jax.tree import leaf_names

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
    found = dict(zip(leaf_names(tree), jax.tree.leaves(tree), strict=True))
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
    documents = read_documents(str(runs / "words.txt"), "block", "text")
    result = evaluate(
        jax.jit(make_eval_step(model)),
        params,
        model.config,
        TokenStore.from_documents(documents, tokenizer),
        one_device(),
        batch_size=4,
        seq_len=32,
        carry=False,
    )
    np.testing.assert_allclose(result["loss"], expected["loss"], rtol=1e-5)
    greedy = Sampling(temperature=0)
    texts = mmrec_jax.generate(model, params, tokenizer, "bir iki", max_tokens=24, sampling=greedy)
    assert texts[0] == expected["greedy"]


def test_old_checkpoints_are_listed_and_their_loss_counts(runs):
    folder = runs / "plain" / "checkpoints"
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
