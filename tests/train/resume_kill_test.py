"""A run that is killed and continued is the run that was never disturbed, bit for bit."""

import functools
import json
import os
import random
import signal
import subprocess
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mmrec_jax.checkpoints.checkpointer import Checkpointer
from tests.small_run import command, environment, flags, session_directory, train, trained

_STEPS = 40
# Free to differ: less to do in each session. One checkpoint is kept, so that none is left to fall
# back on if the newest were ever lost before its successor is complete.
_OPTIONS = flags(
    train__sample_tokens=0, train__dashboard=False, train__keep_last=1, train__keep_best=0
)
_AS_SAVED = ocp.args.StandardRestore()
_REFUSED = []  # what sessions said that found another one in their folder
_TIMED = ("tokens_per_second", "flop_utilisation", "input_wait")


def _metrics(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    return [
        {name: x for name, x in line.items() if name not in _TIMED}
        for line in lines
        if line["split"] != "recurrence"  # what the dashboard adds
    ]


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
    items = ocp.args.Composite(params=_AS_SAVED, training=_AS_SAVED)
    reader = ocp.Checkpointer(ocp.CompositeCheckpointHandler())
    restored = reader.restore(folder / "checkpoints" / str(_STEPS), args=items)
    leaves = jax.tree_util.tree_leaves_with_path((restored["params"], restored["training"]))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _assert_same_run(folder):
    assert _metrics(folder) == _metrics(trained())
    expected, actual = _final_state(trained()), _final_state(folder)
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        assert actual[name].tobytes() == value.tobytes(), name


def _session(folder, *, devices=1):
    return subprocess.Popen(
        command(folder, *_OPTIONS),
        env=environment(devices),
        cwd=session_directory(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _interrupt(folder, number, ready, *, terminals=1, **options):
    """Starts a session and sends it a signal as soon as `ready`: its status and what it said.

    With two terminals the same command is typed in both: one is refused for the other's sake, if
    it comes so far. Which one goes on is left to chance.
    """
    sessions = [_session(folder, **options) for _ in range(terminals)]
    while not ready() and any(session.poll() is None for session in sessions):
        time.sleep(0.0005)
    running = [session for session in sessions if session.poll() is None]
    assert running, [session.communicate()[0] for session in sessions]
    for session in running:
        session.send_signal(number)
    said, _ = running[0].communicate(timeout=120)
    for session in sessions:
        if session not in running:
            refused, _ = session.communicate()
            assert session.returncode == 2, refused
            assert f"process {running[0].pid} " in refused
            _REFUSED.append(refused)
    return running[0].returncode, said


def _all(*conditions):
    return all(condition() for condition in conditions)


def _after(folder, step, delay=0.0):
    """True once this step was logged, and a moment more."""
    reached = []

    def ready():
        if _step_logged(folder) >= step:
            reached.append(time.monotonic())
        return bool(reached) and time.monotonic() - reached[0] >= delay

    return ready


@pytest.mark.parametrize(
    "kills", [3, pytest.param(20, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])]
)
def test_killed_at_any_moment_it_is_the_same_run(tmp_path, kills):
    """Half of the kills wait for a save."""
    choose = random.Random(kills)
    during_save, continued = 0, 0
    for number in range(kills):
        logged = min(_step_logged(tmp_path), _STEPS - 12)
        ready = _after(tmp_path, logged + choose.randint(4, 7), choose.uniform(0, 0.03))
        if number % 2:
            ready = functools.partial(_all, ready, functools.partial(_saving, tmp_path))
        status, said = _interrupt(tmp_path, signal.SIGKILL, ready, terminals=1 + (kills > 3))
        assert status == -signal.SIGKILL
        during_save += _saving(tmp_path)
        continued += "continuing from the checkpoint of step" in said
    assert during_save, "no kill fell into a save"
    assert continued, "no session continued an earlier one"
    assert kills <= 3 or _REFUSED, "no session was refused"
    last = train(tmp_path, *_OPTIONS)
    assert last.returncode == 0, last.stderr
    _assert_same_run(tmp_path)


def test_signals_save_first_and_the_same_command_continues(tmp_path):
    for number, step in ((signal.SIGTERM, 6), (signal.SIGINT, 21)):
        status, said = _interrupt(tmp_path, number, _after(tmp_path, step))
        assert status == 128 + number, said
        saved = Checkpointer(tmp_path / "checkpoints", read_only=True).latest_step()
        assert step <= saved < _STEPS
        assert f"{number.name}: saved at step {saved}. Type the same command to continue" in said
        assert _step_logged(tmp_path) == saved
    last = train(tmp_path, *_OPTIONS)
    assert last.returncode == 0, last.stderr
    assert f"continuing from the checkpoint of step {saved}" in last.stdout
    _assert_same_run(tmp_path)


def test_a_run_saved_on_eight_devices_continues_on_one(tmp_path):
    """The steps after the last save are done twice: on eight devices before the kill, then on one.

    They are few: rounding soon grows apart, as in any training.
    """
    status, said = _interrupt(tmp_path, signal.SIGKILL, _after(tmp_path, 11), devices=8)
    assert status == -signal.SIGKILL, said
    assert "8 cpu device(s)" in said
    before = _metrics(tmp_path)
    status, said = _interrupt(tmp_path, signal.SIGTERM, _after(tmp_path, len(before) + 2))
    assert status == 143, said
    assert "1 cpu device(s)" in said
    saved = int(said.split("continuing from the checkpoint of step ")[1].split()[0].rstrip(".,:"))
    assert 4 <= saved < len(before)
    after = _metrics(tmp_path)[: len(before)]
    assert after[:saved] == before[:saved]
    again = [[line["loss"] for line in lines[saved:]] for lines in (after, before)]
    np.testing.assert_allclose(*again, rtol=3e-5)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_undisturbed_run_learns(split):
    """What the others are compared with is a run worth comparing with."""
    losses = [line["loss"] for line in _metrics(trained()) if line["split"] == split]
    assert len(losses) == (_STEPS if split == "train" else 2)
    assert losses[-1] < losses[0] - 0.3
