import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmrec_jax
from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.cli import main
from mmrec_jax.data.char_tokenizer import CharTokenizer
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.train.mesh import abstract_on
from tests.small_run import trained

_LAST = 40


@pytest.fixture
def copy(tmp_path):
    return Workdir(shutil.copytree(trained(), tmp_path / "run"))


def _trained_params():
    """What the checkpoint holds, read without `load`."""
    place = Workdir(trained())
    config, vocab_size = place.read_config()
    model = MMRecLM(dataclasses.replace(config.model, vocab_size=vocab_size))
    tokens = jnp.zeros((1, 2), jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    reader = Checkpointer(place.checkpoints, read_only=True)
    return model, reader.restore_params(_LAST, abstract_on(shapes, here))


def test_the_model_is_the_trained_one_without_what_only_trains():
    model, params, tokenizer = mmrec_jax.load(trained())
    trained_model, trained_params = _trained_params()
    assert "uboo" in trained_params["blocks"]
    assert "uboo" not in params["blocks"]
    assert (model.config.use_uboo, model.config.dropout) == (False, 0.0)

    tokens = jnp.asarray(tokenizer.encode("İstanbul göl")[None])
    logits, state, _ = jax.jit(model.apply)({"params": params}, tokens)
    expected, expected_state, _ = jax.jit(trained_model.apply)({"params": trained_params}, tokens)
    np.testing.assert_allclose(logits, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(state.m, expected_state.m, rtol=1e-6, atol=1e-6)
    assert float(jnp.max(jnp.abs(logits))) > 0.1


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
