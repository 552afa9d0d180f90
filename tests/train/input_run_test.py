"""The input of a run: killed, and watched."""

import json
import signal
import subprocess
import sys
import time

from mmrec_jax.train.loop import run
from tests.small_data import refused
from tests.small_run import CONFIG_FILE, LINEAR, ROOT, environment, flags, linear_config

_RUN = {
    "train__steps": 24,
    "train__eval_every": 24,
    "train__checkpoint_every": 2,
    "train__keep_last": 2,
    "train__sample_tokens": 0,
}


def _metrics(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    return [line for line in lines if line["split"] == "train"]


def test_killed_it_continues_as_if_it_had_not_been(text, tmp_path, capsys):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(linear_config(text, **_RUN), whole) == 0
    program = [sys.executable, str(ROOT / "train.py"), f"--config={CONFIG_FILE}"]
    options = flags(**LINEAR, **_RUN, train__devices=1, data__train=text)
    process = subprocess.Popen(
        [*program, f"--workdir={killed}", *options, "--config.train.dashboard=False"],
        env=environment(devices=8),  # as this process has
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    while not list(killed.glob("checkpoints/[0-9]")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    capsys.readouterr()
    assert run(linear_config(text, **_RUN), killed) == 0
    assert "continuing from the checkpoint of step" in capsys.readouterr().out
    expected, actual = _metrics(whole), _metrics(killed)
    names = ("step", "loss", "grad_norm", "epochs")
    for a, b in zip(actual, expected, strict=True):
        assert [a[name] for name in names] == [b[name] for name in names]
    assert all(0 <= line["input_wait"] <= 1 for line in actual)


def test_a_run_without_validation_documents_has_no_validation_loss(text, tmp_path, capsys):
    few = {**_RUN, "train__steps": 2, "train__eval_every": 2, "data__validation_fraction": 0.0}
    folder = tmp_path / "run"
    assert run(linear_config(text, **few), folder) == 0
    said = capsys.readouterr().out
    assert said.count("nothing is held out") == 1
    lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    assert {line["split"] for line in lines} <= {"train", "recurrence"}
    assert run(linear_config(text, **few), folder) == 0  # done already
    with refused("config.train.target_loss"):
        run(linear_config(text, **few, train__target_loss=1.0), tmp_path / "other")
