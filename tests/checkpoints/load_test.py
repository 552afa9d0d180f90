import dataclasses
import json
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tree import named_leaves
from tests.refused import mistake, refused
from tests.small_run import assert_same_bits, trained

_LAST = 40


@pytest.fixture
def copy(tmp_path):
    return Workdir(shutil.copytree(trained(), tmp_path / "run"))


def test_the_parameters_are_those_of_the_checkpoint_without_what_only_trains():
    model, params, tokenizer = mmrec_jax.load(trained())
    folder = Workdir(trained()).checkpoints / str(_LAST)
    with ocp.StandardCheckpointer() as reader:
        stored = reader.restore(folder / "params")
        only_trains = named_leaves(reader.restore(folder / "training"))
    assert any("objectives/uboo" in name for name in only_trains)
    assert_same_bits(params, stored)
    assert {leaf.device for leaf in jax.tree.leaves(params)} == {jax.devices()[0]}
    assert model.config.dropout == 0.1  # which nothing outside training does
    without = dataclasses.replace(model.config, dropout=0.0).build()
    tokens = tokenizer.encode("İstanbul göl")[None]
    actual, expected = (mmrec_jax.logits(each, params, tokens) for each in (model, without))
    np.testing.assert_array_equal(actual, expected)


def test_a_step_can_be_chosen_and_damage_is_seen_whoever_reads(copy, capsys):
    damaged, intact = copy.checkpoints / str(_LAST), copy.checkpoints / "50"
    shutil.copytree(damaged, intact)
    file = max(damaged.rglob("params/d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    for step in ("best", "last", 50):  # of equal losses the newest is the best
        mmrec_jax.load(copy.root, step=step)
    for arguments in (["generate", "--prompt=a"], ["export", f"--out={copy.root / 'out'}"]):
        said = mistake(capsys, *arguments, f"--workdir={copy.root}", f"--step={_LAST}")
        assert said.startswith(f"error: {damaged}: params/")
        assert "--step=50" in said


def test_what_cannot_be_loaded_is_refused_before_it_is_read(copy):
    for step in (3, "3", "newest"):
        refused(lambda step=step: mmrec_jax.load(copy.root, step=step), f"{step!r}", "[40]")
    content = json.loads(copy.config.read_text())
    content["config"]["model"]["model_dim"] = 64
    copy.config.write_text(json.dumps(content))
    refused(lambda: mmrec_jax.load(copy.root), "belongs to another run")
    shutil.rmtree(copy.tokenizer)
    CharTokenizer("abc").save(copy.tokenizer)
    content["config"]["model"]["model_dim"] = 32
    copy.config.write_text(json.dumps(content))
    refused(lambda: mmrec_jax.load(copy.root), "another tokenizer", "train anew with --fresh")
    shutil.rmtree(copy.checkpoints)
    refused(lambda: mmrec_jax.load(copy.root), "no checkpoint yet")
    assert not copy.checkpoints.exists()
    copy.config.write_text("{")
    refused(lambda: mmrec_jax.load(copy.root), f"{copy.config}: bad JSON")
