"""A run of the comparison is the run that `train.py` would do, and is done once."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from benchmarks import comparison
from benchmarks.comparison import attention_shape, check, run_once, train
from benchmarks.quality import base_config
from benchmarks.run_log import RunLog
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
    shared = {name: value for name, value in validation[-1].items() if name in result["metrics"]}
    assert result["metrics"] == shared
    assert result["metrics"].keys() >= {"loss", "bits_per_byte"}
    assert result["diverged_at"] is None
    assert result["steps"] == 6


def test_attention_learns_in_the_same_way(folder):
    small = config(folder, model__dropout=0.0, train__steps=12, train__eval_every=12)
    result = train("attention", small, folder / "comparison")
    first, last = result["curve"]["train"][0][1], result["curve"]["train"][-1][1]
    assert last < first - 0.5
    assert result["metrics"]["bits_per_byte"] > 1
    assert result["parameters"] == attention_shape(small.model).parameters
    assert 0 < result["tokens"] <= 12 * 8 * 32


def test_a_loss_that_is_not_finite_is_a_result(folder, monkeypatch):
    def step(state, batch):
        metrics = {"loss": jnp.where(state.step == 2, jnp.nan, 1.5), "tokens": jnp.ones(())}
        return dataclasses.replace(state, step=state.step + 1), metrics

    monkeypatch.setattr(comparison, "make_train_step", lambda *call: step)
    few = config(folder, train__eval_every=100)
    result = train("mmrec", few, folder / "comparison")
    assert result["metrics"] is None
    assert result["diverged_at"] == 3
    assert result["curve"] == {"train": [[1, 1.5], [2, 1.5]], "validation": []}


def test_the_models_of_the_quality_benchmark_are_of_one_size():
    model = base_config("words.txt", tokens=1).model
    ours = comparison.build("mmrec", model)
    peer = comparison.build("attention", model)
    counts = [
        comparison.count_parameters(
            jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
        )
        for network in (ours, peer)
    ]
    assert counts[1] == peer.attention.parameters
    assert abs(counts[1] / counts[0] - 1) < 0.02


def test_a_finished_run_is_not_done_again(folder, monkeypatch):
    done = []
    result = {"metrics": {"loss": 1.0}, "seconds": 1.0}
    monkeypatch.setattr(comparison, "train", lambda *call: done.append(call) or result)
    runs = [config(folder, train__seed=seed) for seed in range(3)]
    path = folder / "log.jsonl"
    for chosen in runs[:2]:
        run_once(RunLog(path), "mmrec", chosen, folder)
    log = RunLog(path)
    again = [run_once(log, "mmrec", chosen, folder) for chosen in runs]
    assert [call[1] for call in done] == runs
    assert [record["seed"] for record in again] == [0, 1, 2]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({}, "config.model.dropout is 0.1"),
        ({"model__dropout": 0.0, "train__carry_state": True}, "config.train.carry_state"),
        ({"model__dropout": 0.0, "model__dtype": "bfloat16"}, "config.model.dtype"),
    ],
)
def test_what_attention_cannot_do_is_refused(overrides, message, folder):
    with pytest.raises(UserError, match=message):
        check("attention", config(folder, **overrides))
    check("mmrec", config(folder, **overrides))


def test_an_optimizer_that_wants_the_curvature_is_refused(folder):
    with pytest.raises(UserError, match=r'config\.optim\.name is "sophia_g"'):
        check("mmrec", config(folder, optim__name="sophia_g"))


def test_attention_is_not_asked_for_more_than_a_row():
    task = read_config(str(ROOT / "configs" / "mqar.py"), flags(data__eval_lengths="(128, 256)"))
    with pytest.raises(UserError, match=r"config\.data\.eval_lengths has 256"):
        check("attention", task)
    check("mmrec", task)


def test_no_model_of_the_same_size_is_an_error(folder):
    model = dataclasses.replace(config(folder).model, vocab_size=20, ffn_dim=1)
    with pytest.raises(UserError, match="not within 2%"):
        attention_shape(model)
