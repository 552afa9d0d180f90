"""Every model and optimizer has the same number of runs, and no run is done twice."""

import argparse
import math
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import comparison, optimizer_runs, optimizers
from benchmarks.mqar_table import SHAPES, Recall, model_state_bytes
from benchmarks.optimizers import POINTS
from benchmarks.optimizers_report import mean_share, share_to_reach
from benchmarks.quality import Quality
from benchmarks.run_log import RunLog
from mmrec_jax.config_file import read_config
from tests.small_run import write_text

_SIZES = {
    f"{split}_{what}": 1000
    for split in ("train", "validation")
    for what in ("documents", "bytes", "tokens")
}


@pytest.fixture
def log(tmp_path):
    return lambda: RunLog(tmp_path / "log.jsonl")


@pytest.fixture
def calls(monkeypatch):
    """Training is replaced by a formula with its best rate at 0.003."""
    done = []

    def train(model, config, workdir):
        done.append((model, config))
        rate, seed = config.optim.lr, config.train.seed
        assert seed == config.data.seed
        bits = 2 + abs(rate - 0.003) + 0.01 * seed
        return {
            "metrics": {"bits_per_byte": bits, "token_accuracy@128": 0.5} if rate < 0.01 else None,
            "diverged_at": None if rate < 0.01 else 7,
            "parameters": 1500,
            "tokens": 500,
            "tokens_per_second": 8000,
            "seconds": 1.0,
            "data": _SIZES | {"vocabulary": 2000},
        }

    monkeypatch.setattr(comparison, "train", train)
    return done


def test_the_parts_of_the_quality_benchmark_share_their_runs(log, calls, tmp_path):
    text = str(write_text(tmp_path / "words.txt"))
    options = argparse.Namespace(
        data=text,
        wikitext=(text, text),
        mmrec_rates=[0.001, 0.003, 0.01],
        attention_rates=[0.003, 0.01],
        seeds=2,
        tokens=1000,
        workdir=tmp_path,
    )
    # Rates at seed 0 and the best one at seed 1; every ablation once; one run per model.
    expected = {"main": (3 + 1) + (2 + 1), "ablations": 7, "wikitext": 2}
    for part, count in expected.items():
        before = len(calls)
        getattr(Quality(options, log()), part)()
        assert len(calls) - before == count
    assert {config.optim.lr for _, config in calls[7:]} == {0.003}
    assert Counter(model for model, _ in calls[-2:]) == {"mmrec": 1, "attention": 1}
    for part in expected:
        getattr(Quality(options, log()), part)()
    assert len(calls) == 16


def test_the_tables_of_the_recall_benchmark_share_their_runs(log, calls, tmp_path):
    options = argparse.Namespace(
        mmrec_rates=[0.005], attention_rates=[0.001, 0.005], steps=9, seed=1, workdir=tmp_path
    )
    recall = Recall(options, log())
    for _ in range(2):
        recall.models()
        recall.shapes()
        assert len(calls) == 2 * (3 + 2) + len(SHAPES) - 1  # the config's shape is in both
    rest = 4 * 2 * 64 + 4 + 4  # h of two layers; segment and position
    for shape in SHAPES:
        memory = 4 * 2 * math.prod(shape)
        assert model_state_bytes("delta", recall._config("delta", 32, shape)) == rest + memory


def test_every_optimizer_has_as_many_points_and_its_best_one_all_seeds(log, monkeypatch, tmp_path):
    done = []

    def finish(log, configs, workdir, jobs):
        """A formula: the last point of each optimizer is its best; the first one diverges."""
        for config in configs:
            if log.find(optimizer_runs.MODEL, config) is None:
                optim, seed = config.optim, config.train.seed
                assert config.data.seed == seed
                done.append((optim.name, seed))
                index = [
                    all(getattr(optim, name) == value for name, value in point.items())
                    for point in POINTS[optim.name]
                ].index(True)
                metrics = {"bits_per_byte": 3 - 0.1 * index + 0.01 * seed} if index else None
                log.append(optimizer_runs.MODEL, config, {"metrics": metrics})

    monkeypatch.setattr(optimizers, "finish", finish)
    base = read_config(str(Path(optimizers.__file__).with_name("optimizers_config.py")))
    options = argparse.Namespace(optimizers=list(POINTS), seeds=3, jobs=2, workdir=tmp_path)
    sweeps, ends = optimizers.runs(options, base, log())
    assert Counter(done) == {
        **{(name, 0): 4 for name in POINTS},
        **{(name, seed): 1 for name in POINTS for seed in (1, 2)},
    }
    for name, points in POINTS.items():
        last = {f"optim.{field}": value for field, value in points[-1].items()}
        for record in ends[name]:
            assert record["fields"].items() >= last.items()
    assert optimizers.runs(options, base, log()) == (sweeps, ends)
    assert len(done) == 5 * (4 + 2)


def test_tokens_to_a_target_are_read_off_a_straight_line():
    def run(end):
        curve = {"validation": [[50, 4.0], [100, end]]}
        return {"steps": 100, "curve": curve, "metrics": {"bits_per_byte": end}}

    assert share_to_reach(run(3.0), 3.25) == pytest.approx(0.875)
    assert share_to_reach(run(3.0), 2.9) is None
    pair = [run(3.0), run(2.0)]
    assert mean_share(pair, [run(3.0), run(3.5)]) == pytest.approx(0.8125)
    assert mean_share(pair, [run(2.9), run(3.5)]) is None
