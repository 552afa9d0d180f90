"""Which runs the benchmark of optimizers does, and what it says of them."""

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks import optimizer_cost, optimizer_runs, optimizers
from benchmarks.optimizer_cost import STEPS, Timed
from benchmarks.optimizers import POINTS
from benchmarks.optimizers_picture import draw
from benchmarks.optimizers_table import ends_table, mean_share, points_table, share_to_reach
from benchmarks.run_log import RunLog
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config_file import read_config
from mmrec_jax.errors import NotFiniteError, UserError
from mmrec_jax.train import loop
from mmrec_jax.train.writer import JsonLines

_BASE = read_config(str(Path(optimizers.__file__).with_name("optimizers_config.py")))


def _result(end, *, diverged=False):
    return {
        "steps": 100,
        "tokens": 1000,
        "cpu_seconds": 60.0,
        "tokens_per_second": 9000,
        "curve": {"train": [[10, 5.0]], "validation": [[50, 4.0], [100, end]]},
        "unclipped": 0.2,
        "update_rms": 0.8,
        "metrics": None if diverged else {"loss": 2.0, "bits_per_byte": end},
        "diverged_at": 60 if diverged else None,
    }


@pytest.fixture
def calls(monkeypatch):
    """Training is replaced by a formula: the last point of each optimizer is its best."""
    done = []

    def finish(log, configs, workdir, jobs):
        for config in configs:
            if log.find(optimizer_runs.MODEL, config) is None:
                optim, seed = config.optim, config.train.seed
                assert config.data.seed == seed
                done.append((optim.name, seed))
                index = [
                    all(getattr(optim, name) == value for name, value in point.items())
                    for point in POINTS[optim.name]
                ].index(True)
                end = 3 - 0.1 * index + 0.01 * seed - 0.5 * (optim.name == "muon")
                diverged = optim.name == "lion" and index == 0
                log.append(optimizer_runs.MODEL, config, _result(end, diverged=diverged))

    monkeypatch.setattr(optimizers, "finish", finish)
    return done


def _runs(tmp_path):
    options = argparse.Namespace(
        optimizers=list(POINTS), seeds=3, jobs=2, workdir=tmp_path / "runs"
    )
    return optimizers.runs(options, _BASE, RunLog(tmp_path / "log.jsonl"))


def test_every_optimizer_has_the_same_budget_and_no_run_is_done_twice(calls, tmp_path):
    assert {len(points) for points in POINTS.values()} == {4}
    sweeps, ends = _runs(tmp_path)
    assert sorted(calls) == sorted(
        [(name, 0) for name in POINTS for _ in range(4)]
        + [(name, seed) for name in POINTS for seed in (1, 2)]
    )
    assert _runs(tmp_path) == (sweeps, ends)
    assert len(calls) == 30

    lines = ends_table(ends, {"adamw": 1.0, "muon": 1.5})
    ranked = [line.split(" | ")[0] for line in lines[2:]]
    assert (ranked[0], len(ranked)) == ("| Muon", 5)
    assert "| 2.2000, 2.2100, 2.2200 | 2.2100 | 0.0100 | -0.5000 | 86% | 1.50 | 129% |" in lines[2]
    assert "lr 0.02, b2 0.99 |" in next(line for line in lines if line.startswith("| AdamW"))
    lines = points_table(sweeps)
    assert len(lines) == 2 + 20
    assert sum("diverged after step 60" in line for line in lines) == 1
    assert sum("**2.7000** | 20.0% | 9,000 | 60 |" in line for line in lines) == 4
    draw(ends, {"adamw": 1.0}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_tokens_to_a_target_are_read_off_a_straight_line():
    run = _result(3.0)
    assert share_to_reach(run, 3.25) == pytest.approx(0.875)
    assert share_to_reach(run, 4.5) == 0.5
    assert share_to_reach(run, 2.9) is None
    assert mean_share([run, _result(2.0)], [_result(3.0), _result(3.5)]) == pytest.approx(0.8125)
    assert mean_share([run, _result(2.0)], [_result(2.9), _result(3.5)]) is None


def _write(folder, last):
    writer = JsonLines(Workdir(folder).metrics, 0)
    for step in range(10, last + 1, 10):
        numbers = {"loss": 9.0 - step / 100, "tokens_per_second": 100.0 * step}
        numbers |= {"sophia_unclipped": step / 1000, "sophia_update_rms": 0.5}
        writer.write(step, "train", numbers)
        if step % 50 == 0:
            writer.write(step, "validation", {"loss": 2.0, "bits_per_byte": 3 - step / 1000})
    writer.close()


def test_a_run_is_what_the_training_loop_logged(tmp_path, monkeypatch):
    def run(config, workdir, *, fresh):
        assert fresh
        workdir.mkdir(parents=True, exist_ok=True)
        _write(workdir, 100 if config.optim.lr < 1 else 60)
        if config.optim.lr >= 1:
            raise NotFiniteError("step 67: loss is nan, training stops")
        return 0

    monkeypatch.setattr(loop, "run", run)
    config = optimizers._at(_BASE, "sophia_g", {"lr": 0.1}, 1)
    result = optimizer_runs.train(config, tmp_path)
    assert result["metrics"] == {"loss": 2.0, "bits_per_byte": 2.9}
    assert (result["steps"], result["tokens"]) == (100, 100 * 4 * 256)
    assert result["tokens_per_second"] == 8000  # median of 6,000 to 10,000
    assert result["curve"]["validation"] == [[50, 2.95], [100, 2.9]]
    assert (result["unclipped"], result["update_rms"]) == pytest.approx((0.08, 0.5))
    assert result["diverged_at"] is None
    lost = optimizer_runs.train(optimizers._at(_BASE, "lion", {"lr": 2.0}, 1), tmp_path)
    assert (lost["metrics"], lost["diverged_at"]) == (None, 60)

    def refuse(*arguments, **options):
        raise UserError("config.data: no")

    monkeypatch.setattr(loop, "run", refuse)  # the log of the run before is still there
    with pytest.raises(UserError, match=r"config\.data: no"):
        optimizer_runs.train(config, tmp_path)


def test_the_cost_of_a_step_is_that_of_plain_and_refreshing_steps_together():
    labels = dict.fromkeys(label for programs in STEPS.values() for label in programs)
    seconds = dict(zip(labels, (2.0, 2.1, 3.1, 5.1, 1.9, 3.0), strict=True))
    steps = {
        label: Timed(None, None, 2**21, 2**20, [9.0, 9.0, *[x] * 5], [9.0, 9.0, *[2 * x] * 5])
        for label, x in seconds.items()
    }
    cost = optimizer_cost._cost(steps, every=10)
    expected = {"adamw": 1, "sophia_g": 1.1, "sophia_h": 1.2, "lion": 0.95, "muon": 1.5}
    assert cost == pytest.approx(expected)
    del steps["sophia_h, refresh"], steps["lion"]
    assert optimizer_cost._cost(steps, every=10).keys() == {"adamw", "sophia_g", "muon"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds is 0"),
        (["--picture", "no/such/place.png"], "--picture: the folder no/such"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["optimizers", *arguments])
    with pytest.raises(UserError, match=message):
        optimizers._check(optimizers._options())
