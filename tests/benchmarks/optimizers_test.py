"""What a run of the benchmark of optimizers is, and what is read off it."""

import dataclasses
import statistics

import pytest

from benchmarks import optimizer_runs
from benchmarks.optimizers_table import mean_share, share_to_reach
from mmrec_jax.errors import NotFiniteError, UserError
from mmrec_jax.train import loop
from mmrec_jax.train.writer import read_metrics
from tests.small_run import linear_config, session_text


def _result(end):
    curve = {"validation": [[50, 4.0], [100, end]]}
    return {"steps": 100, "curve": curve, "metrics": {"bits_per_byte": end}}


def test_tokens_to_a_target_are_read_off_a_straight_line():
    run = _result(3.0)
    assert share_to_reach(run, 3.25) == pytest.approx(0.875)
    assert share_to_reach(run, 4.5) == 0.5
    assert share_to_reach(run, 2.9) is None
    assert mean_share([run, _result(2.0)], [_result(3.0), _result(3.5)]) == pytest.approx(0.8125)
    assert mean_share([run, _result(2.0)], [_result(2.9), _result(3.5)]) is None


def test_a_run_is_what_the_training_loop_logs(tmp_path, monkeypatch):
    short = {"train__steps": 6, "train__eval_every": 3, "train__sample_tokens": 0}
    config = linear_config(session_text(), **short)
    optim = dataclasses.replace(config.optim, name="sophia_g", hessian_every=1)
    config = dataclasses.replace(config, optim=optim)
    result = optimizer_runs.train(config, tmp_path)
    logged = read_metrics(tmp_path / "0" / "metrics.jsonl")
    late = [line for line in logged if line["split"] == "train" and line["step"] > 3]
    scores = [line for line in logged if line["split"] == "validation"]
    assert [step for step, _ in result["curve"]["train"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in result["curve"]["validation"]] == [3, 6]
    assert result["metrics"]["bits_per_byte"] == scores[-1]["bits_per_byte"]
    assert (result["steps"], result["tokens"], result["diverged_at"]) == (6, 6 * 8 * 32, None)
    rates = [line["tokens_per_second"] for line in late]
    assert result["tokens_per_second"] == round(statistics.median(rates))
    mean = statistics.fmean(line["sophia_unclipped"] for line in late)
    assert result["unclipped"] == pytest.approx(mean, abs=1e-4)

    def diverge(config, workdir, *, fresh):
        line = '{"step": 2, "split": "train", "loss": 9.0, "tokens_per_second": 1.0}\n'
        (workdir / "metrics.jsonl").write_text(line)
        raise NotFiniteError("step 3: loss is nan")

    monkeypatch.setattr(loop, "run", diverge)
    lost = optimizer_runs.train(config, tmp_path)
    assert (lost["metrics"], lost["diverged_at"]) == (None, 2)
    monkeypatch.setattr(loop, "run", lambda *call, **options: 1)  # by a signal
    with pytest.raises(UserError):
        optimizer_runs.train(config, tmp_path)
