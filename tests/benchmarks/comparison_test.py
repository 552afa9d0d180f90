"""A run of the comparison is the run that `train.py` would do."""

import dataclasses

import pytest

from benchmarks.comparison import attention_shape, check, train
from benchmarks.quality import base_config
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config_file import read_config
from mmrec_jax.errors import UserError
from mmrec_jax.train.loop import run
from mmrec_jax.train.writer import read_metrics
from tests.small_run import ROOT, flags, linear_config, write_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison")
    write_text(path / "words.txt")
    return path


def config(folder, **overrides):
    few = {"train__steps": 6, "train__eval_every": 3, "train__sample_tokens": 0}
    return linear_config(folder / "words.txt", **{**few, **overrides})


def test_mm_rec_has_the_losses_of_the_training_loop(folder):
    run(config(folder), folder / "loop")
    lines = read_metrics(Workdir(folder / "loop").metrics)
    result = train("mmrec", config(folder), folder / "comparison")
    expected = [[m["step"], round(m["loss"], 4)] for m in lines if m["split"] == "train"]
    assert result["curve"]["train"] == expected
    validation = [m for m in lines if m["split"] == "validation"]
    assert result["curve"]["validation"] == [[m["step"], m["loss"]] for m in validation]
    assert result["metrics"].items() <= validation[-1].items()
    assert result["metrics"].keys() >= {"loss", "bits_per_byte"}
    assert (result["diverged_at"], result["steps"]) == (None, 6)


@pytest.mark.parametrize(
    ("model", "overrides", "field"),
    [
        ("attention", {}, "config.model.dropout"),
        ("attention", {"model__dropout": 0.0, "train__carry_state": True}, "train.carry_state"),
        ("attention", {"model__dropout": 0.0, "model__dtype": "bfloat16"}, "config.model.dtype"),
        ("mmrec", {"optim__name": "sophia_g"}, "config.optim.name"),
    ],
)
def test_what_cannot_be_compared_is_refused(model, overrides, field, folder):
    with pytest.raises(UserError, match=field):
        check(model, config(folder, **overrides))
    check("mmrec", config(folder, **{**overrides, "optim__name": "adamw"}))


def test_the_models_that_are_compared_are_of_one_size(folder):
    recall = read_config(str(ROOT / "configs" / "mqar.py"), flags()).model
    for ours in (base_config("words.txt", tokens=1).model, recall):
        assert attention_shape(ours).model_dim == ours.model_dim  # within 2 %, or it raises
    tiny = dataclasses.replace(config(folder).model, vocab_size=20, ffn_dim=1)
    with pytest.raises(UserError, match=r"config\.model"):
        attention_shape(tiny)
