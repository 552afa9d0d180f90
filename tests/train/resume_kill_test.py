"""A run that is killed and continued is the run that was never disturbed, bit for bit."""

import functools
import os
import random
import signal
import subprocess
import threading
import time

import orbax.checkpoint as ocp
import pytest

from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.train.loop import run
from tests.small_run import (
    assert_same_bits,
    command,
    environment,
    flags,
    metrics,
    session_directory,
    session_text,
    small_config,
    trained,
)

_STEPS = 40
# Free to differ: less to do in each session. One checkpoint is kept, so that none is left to fall
# back on if the newest were ever lost before its successor is complete.
_FIELDS = {
    "train__sample_tokens": 0,
    "train__dashboard": False,
    "train__keep_last": 1,
    "train__keep_best": 0,
    "train__devices": 1,  # of eight, like those of this process: then the last bits are the same
}
_STAGES = [
    {"step": 13, "seq_len": 64, "batch_size": 4, "objectives": [("uboo", 0.3)]},
    {"step": 26, "seq_len": 16, "batch_size": 16, "accumulate": 2, "lr_factor": 0.5},
]
_REFUSED = []  # what sessions said that found another one in their folder


def _metrics(folder):
    """Without what the dashboard adds."""
    return [line for line in metrics(folder) if line["split"] != "recurrence"]


def _step_logged(folder):
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b'"split": "train"') if path.exists() else 0


def _saving(folder):
    """Whether a checkpoint is half-written at this moment."""
    try:
        with os.scandir(folder / "checkpoints") as entries:
            return any("orbax-checkpoint-tmp" in entry.name for entry in entries)
    except FileNotFoundError:
        return False


def _final_state(folder):
    """Every array of the last checkpoint: parameters, optimizer, step, key."""
    assert Checkpointer(folder / "checkpoints", read_only=True).latest_step() == _STEPS
    as_saved = ocp.args.StandardRestore()
    items = ocp.args.Composite(params=as_saved, training=as_saved)
    reader = ocp.Checkpointer(ocp.CompositeCheckpointHandler())
    restored = reader.restore(folder / "checkpoints" / str(_STEPS), args=items)
    return {name: restored[name] for name in ("params", "training")}


def _session(folder, fields=_FIELDS):
    """The status of a session in this process."""
    return run(small_config(session_text(), **fields), folder)


def _assert_same_run(folder, expected, fields=_FIELDS):
    assert _session(folder, fields) == 0
    assert _metrics(folder) == _metrics(expected)
    for split, count in (("train", _STEPS), ("validation", 2)):  # a run worth comparing with
        losses = [line["loss"] for line in _metrics(folder) if line["split"] == split]
        assert len(losses) == count
        assert losses[-1] < losses[0] - 0.3
    assert_same_bits(_final_state(folder), _final_state(expected))


def _kill(folder, ready, terminals=1, fields=_FIELDS):
    """Starts a session in a process and kills it as soon as `ready`: what it said.

    With two terminals the same command is typed in both: one is refused for the other's sake, if
    it comes so far. Which one goes on is left to chance.
    """
    start = {"env": environment(devices=8), "cwd": session_directory(), "text": True}
    start |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    typed = command(folder, *flags(**fields))
    sessions = [subprocess.Popen(typed, **start) for _ in range(terminals)]
    while not ready() and any(session.poll() is None for session in sessions):
        time.sleep(0.0005)
    running = [session for session in sessions if session.poll() is None]
    assert running, [session.communicate()[0] for session in sessions]
    for session in running:
        session.kill()
    said, _ = running[0].communicate(timeout=120)
    for session in sessions:
        if session not in running:
            refused, _ = session.communicate()
            assert session.returncode == 2, refused
            assert f"process {running[0].pid} " in refused
            _REFUSED.append(refused)
    assert running[0].returncode == -signal.SIGKILL
    return said


def _after(folder, step, delay=0.0):
    """True once this step was logged, and a moment more."""
    reached = []

    def ready():
        if _step_logged(folder) >= step:
            reached.append(time.monotonic())
        return bool(reached) and time.monotonic() - reached[0] >= delay

    return ready


def _all(*conditions):
    return all(condition() for condition in conditions)


def _stop(folder, number, step, capsys):
    """Begins a session and stops it with a signal that it has time for."""
    ended = threading.Event()

    def send():
        ready = _after(folder, step)
        while not ready():
            time.sleep(0.0005)
        if not ended.is_set():  # the signal would end the tests
            os.kill(os.getpid(), number)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    status = _session(folder)
    ended.set()
    assert status == 128 + number
    sender.join()
    saved = Checkpointer(folder / "checkpoints", read_only=True).latest_step()
    assert step <= saved < _STEPS
    said = f"{number.name}: saved at step {saved}. Type the same command to continue"
    assert said in capsys.readouterr().out
    assert _step_logged(folder) == saved


@pytest.mark.parametrize(
    "kills", [1, pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
def test_stopped_and_then_killed_at_any_moment_it_is_the_same_run(tmp_path, kills, capsys):
    """Half of the kills wait for a save, the first one among them."""
    _stop(tmp_path, signal.SIGTERM, 6, capsys)
    choose = random.Random(kills)
    during_save, continued = 0, 0
    for number in range(kills):
        logged = min(_step_logged(tmp_path), _STEPS - 12)
        ready = _after(tmp_path, logged + choose.randint(4, 7), choose.uniform(0, 0.03))
        if number % 2 == 0:
            ready = functools.partial(_all, ready, functools.partial(_saving, tmp_path))
        said = _kill(tmp_path, ready, terminals=1 + (kills > 3))
        during_save += _saving(tmp_path)
        continued += "continuing from the checkpoint of step" in said
    assert during_save, "no kill fell into a save"
    assert continued, "no session continued an earlier one"
    assert kills <= 3 or _REFUSED, "no session was refused"
    _assert_same_run(tmp_path, trained())


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_at_any_moment_of_three_stages_it_is_the_same_run(tmp_path):
    """Twenty kills; rows, batches, objectives and the learning rate change, states are passed."""
    fields = {**_FIELDS, "stages": _STAGES, "train__state_passing": 0.5}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _session(whole, fields) == 0
    choose = random.Random(0)
    for number in range(20):
        # All over the run, the borders included; the first session gets beyond its second save.
        logged = max(_step_logged(killed), number * (_STEPS - 8) // 20, 5)
        ready = _after(killed, min(logged + choose.randint(4, 7), _STEPS - 2))
        _kill(killed, ready, fields=fields)
    _assert_same_run(killed, whole, fields)


@pytest.mark.soak
def test_signals_save_first_and_the_same_command_continues(tmp_path, capsys):
    for number, step in ((signal.SIGTERM, 6), (signal.SIGINT, 21)):
        _stop(tmp_path, number, step, capsys)
    _assert_same_run(tmp_path, trained())
