"""Sessions that train on streamed text."""

import json
import os
import shutil
from pathlib import Path

import pytest

from mmrec_jax.errors import UserError
from mmrec_jax.train.input_monitor import InputMonitor, joined_metrics
from mmrec_jax.train.loop import run
from tests.small_run import linear_config

_RUN = {
    "data__source": "stream",
    "data__shuffle_mb": 1,
    "train__steps": 4,
    "train__eval_every": 4,
    "train__checkpoint_every": 2,
    "train__keep_last": 2,
    "train__sample_tokens": 0,
}


def _metrics(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line for line in lines if line["split"] == "train"]


def _children():
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    pids = {pid for task in tasks for pid in (task / "children").read_text().split()}
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    return [command for command in commands if b"data.stream.worker" in command]


def test_a_run_in_two_sessions_is_the_run_in_one_whoever_reads(text, tmp_path, capsys):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(linear_config(text, **_RUN, data__stream_workers=0), whole) == 0
    assert "data: stream, 1 files of " in capsys.readouterr().out
    shutil.copytree(whole, parts)
    shutil.rmtree(parts / "checkpoints" / "4")  # as if it had been killed before that save
    assert run(linear_config(text, **_RUN, data__stream_workers=1), parts) == 0
    assert "continuing from the checkpoint of step 2" in capsys.readouterr().out
    assert not _children()
    expected, actual = _metrics(whole), _metrics(parts)
    assert len(actual) == 4
    for a, b in zip(actual, expected, strict=True):
        assert (a["loss"], a["grad_norm"], a["epochs"]) == (b["loss"], b["grad_norm"], b["epochs"])
        assert 0 <= a["input_wait"] <= 1
    assert actual[-1]["input_memory_mb"] > 0
    assert "ready_batches" in actual[-1]
    with pytest.raises(UserError, match=r"config\.data\.shuffle_mb \(1 in the checkpoint, 2 now"):
        run(linear_config(text, **{**_RUN, "data__shuffle_mb": 2}), parts)


class _Batches:
    """Waits for two seconds of a made-up clock for each batch."""

    def __init__(self, clock):
        self.clock, self.started = clock, False
        self.lines = ["a", "b", "a"]

    def start(self):
        self.started = True

    def __next__(self):
        self.clock[0] += 2.0
        return {}

    def metrics(self):
        return {"epochs": 0.5}

    def warnings(self):
        return self.lines


def test_the_share_of_time_that_was_waited(monkeypatch):
    clock = [10.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    batches = _Batches(clock)
    monitor = InputMonitor(batches)
    assert batches.started
    next(monitor)
    clock[0] += 6.0  # the step itself
    assert monitor.metrics() == {"input_wait": 0.25, "epochs": 0.5}
    monitor.begin_window()
    clock[0] += 1.0
    assert monitor.metrics()["input_wait"] == 0
    assert monitor.warnings() == ["a", "b"]
    assert monitor.warnings() == []


def test_metrics_of_several_processes():
    parts = [
        {"input_wait": 0.1, "epochs": 1.0, "epochs of a": 0.5, "ready_batches": 3, "left_out": 2},
        {"input_wait": 0.3, "epochs": 2.0, "epochs of a": 0.0, "ready_batches": 9},
    ]
    assert joined_metrics(parts) == {
        **{"input_wait": 0.3, "epochs": 1.5, "epochs of a": 0.25},
        **{"ready_batches": 3, "left_out": 2},
    }
    assert joined_metrics(parts[:1]) == parts[0]
