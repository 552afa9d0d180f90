import dataclasses
import json
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.cli import main
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tree import named_leaves
from tests.small_run import trained

_LAST = 40


@pytest.fixture
def copy(tmp_path):
    return Workdir(shutil.copytree(trained(), tmp_path / "run"))


def test_the_parameters_are_those_of_the_checkpoint_without_what_only_trains():
    _, params, _ = mmrec_jax.load(trained())
    folder = Workdir(trained()).checkpoints / str(_LAST)
    with ocp.StandardCheckpointer() as reader:
        stored = named_leaves(reader.restore(folder / "params"))
        only_trains = named_leaves(reader.restore(folder / "training"))
    assert any("objectives/uboo" in name for name in only_trains)
    assert named_leaves(params).keys() == stored.keys()
    for name, leaf in named_leaves(params).items():
        assert np.asarray(leaf).tobytes() == np.asarray(stored[name]).tobytes(), name


def test_nothing_is_dropped_outside_training():
    model, params, tokenizer = mmrec_jax.load(trained())
    assert model.config.dropout == 0.1
    without = dataclasses.replace(model.config, dropout=0.0).build()
    tokens = tokenizer.encode("İstanbul göl")[None]
    actual, expected = (mmrec_jax.logits(each, params, tokens) for each in (model, without))
    np.testing.assert_array_equal(actual, expected)
    assert np.max(np.abs(actual)) > 0.1


def test_parameters_lie_on_one_device_whatever_they_were_trained_on():
    _, params, _ = mmrec_jax.load(trained(), step="last")
    assert {leaf.device for leaf in jax.tree.leaves(params)} == {jax.devices()[0]}


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
        with pytest.raises(SystemExit) as caught:
            main([*arguments, f"--workdir={copy.root}", f"--step={_LAST}"])
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {damaged}: params/")
        assert "--step=50" in said
        assert said.count("\n") == 1


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no run here"):
        mmrec_jax.load(tmp_path)


def test_a_run_without_a_checkpoint_is_refused(copy):
    shutil.rmtree(copy.checkpoints)
    with pytest.raises(UserError, match="no checkpoint yet"):
        mmrec_jax.load(copy.root)
    assert not copy.checkpoints.exists()


@pytest.mark.parametrize("step", [3, "3", "newest"])
def test_a_step_that_is_not_there_is_refused_with_those_that_are(step):
    with pytest.raises(UserError, match=rf"no checkpoint {step!r}; there are \[40\]"):
        mmrec_jax.load(trained(), step=step)


def test_another_tokenizer_is_refused(copy):
    shutil.rmtree(copy.tokenizer)
    CharTokenizer("abc").save(copy.tokenizer)
    with pytest.raises(UserError, match="was trained with another tokenizer"):
        mmrec_jax.load(copy.root)


def test_a_config_of_another_model_is_refused(copy):
    content = json.loads(copy.config.read_text())
    content["config"]["model"]["model_dim"] = 64
    copy.config.write_text(json.dumps(content))
    with pytest.raises(UserError, match="belongs to another run"):
        mmrec_jax.load(copy.root)
