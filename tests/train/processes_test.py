"""Runs of several processes: what they compute, save and say is what one process does."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import types

import pytest

from mmrec_jax.data.train_iterator import joined_state
from mmrec_jax.errors import UserError
from mmrec_jax.train import loop
from mmrec_jax.train.interrupt import Interrupt
from mmrec_jax.train.processes import (
    all_reduce_max,
    fetch,
    gather,
    init_distributed,
    process_zero_first,
)
from mmrec_jax.train.writer import read_metrics
from tests.small_run import LINEAR, command, environment, flags, session_directory, train

_RUN = {
    **LINEAR,
    "train__dashboard": False,
    "train__steps": 4,
    "train__eval_every": 4,
    "train__checkpoint_every": 2,
    "train__keep_last": 2,
    "train__sample_tokens": 0,
}


@contextlib.contextmanager
def _started(count, command_of):
    """So many processes with a device each, which are told where they are; killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]},{count}"
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(count):
            process = subprocess.Popen(
                command_of(f"{where},{number}"),
                env=environment(),
                cwd=session_directory(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.callback(process.kill)
            started.append(process)
        yield started


def _command(workdir, where, **overrides):
    return command(workdir, *flags(**{**_RUN, **overrides}), f"--distributed={where}")


def _processes(workdir, count, **overrides):
    """A run of so many processes."""
    return _started(count, lambda where: _command(workdir, where, **overrides))


def _finish(processes):
    """The standard outputs, once all have ended well."""
    outputs = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        outputs.append(out)
    return outputs


def _metrics(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines())
    names = ("step", "split", "loss", "grad_norm", "epochs", "bits_per_byte")
    return [{name: line[name] for name in names if name in line} for line in lines]


def _position(folder, step):
    data = json.loads((folder / "checkpoints" / str(step) / "data" / "metadata").read_text())
    return data["position"]["shards"]


def test_two_processes_are_one_and_either_goes_on_from_the_other(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    result = train(one, *flags(**_RUN), devices=2)
    assert result.returncode == 0, result.stderr
    with _processes(two, 2) as started:
        first, second = _finish(started)
    assert "2 cpu device(s) in 2 processes; 4 steps" in first
    assert "done: step 4" in first
    said = [line for line in second.splitlines() if not line.startswith("[Gloo]")]
    assert len(said) == 1
    assert said[0].startswith("process 1 of 2 looks for 127.0.0.1:")
    assert _metrics(two) == _metrics(one)
    assert [line["step"] for line in _metrics(one)] == [1, 2, 3, 4, 4]
    assert _position(two, 2) == _position(one, 2)
    assert len(_position(two, 2)) == 8
    for folder in (one, two):
        shutil.rmtree(folder / "checkpoints" / "4")  # as if killed before that save
    expected = _metrics(one)
    result = train(two, *flags(**_RUN), devices=2)
    assert "continuing from the checkpoint of step 2" in result.stdout, result.stderr
    with _processes(one, 2) as started:
        assert "continuing from the checkpoint of step 2" in _finish(started)[0]
    assert _metrics(one) == _metrics(two) == expected
    assert _position(one, 4) == _position(two, 4)


def test_two_processes_with_half_of_each_matrix_go_on_from_one_with_all_of_it(tmp_path):
    """They evaluate, draw their dashboard's numbers and write a sample, too."""
    one, two = tmp_path / "one", tmp_path / "two"
    seen = {"train__sample_tokens": 4, "train__dashboard": True}
    result = train(one, *flags(**_RUN | seen))
    assert result.returncode == 0, result.stderr
    expected, sample = read_metrics(one / "metrics.jsonl"), "samples/step_0000004.txt"
    assert [line["split"] for line in expected] == [*["train"] * 4, "validation", "recurrence"]
    shutil.copytree(one, two)
    shutil.rmtree(two / "checkpoints" / "4")  # as if killed before that save
    (two / sample).unlink()
    with _processes(two, 2, **seen, mesh__data=1, mesh__fsdp=2) as started:
        assert "continuing from the checkpoint of step 2" in _finish(started)[0]
    found = read_metrics(two / "metrics.jsonl")
    for before, after in zip(expected, found, strict=True):
        assert before.keys() == after.keys()
        numbers = before.keys() - {"tokens_per_second", "flop_utilisation", "input_wait", "split"}
        for name in numbers:
            assert after[name] == pytest.approx(before[name], abs=1e-4, rel=1e-4), name
    assert found[2] != expected[2]  # of the second session
    assert (two / sample).read_text("utf-8") == (one / sample).read_text("utf-8")


def test_a_signal_to_one_process_stops_all_at_one_step(tmp_path):
    with _processes(tmp_path, 2, train__steps=100_000, train__log_every=3) as started:
        deadline = time.monotonic() + 120
        while not (tmp_path / "checkpoints" / "4").exists():
            assert time.monotonic() < deadline
            assert [process.poll() for process in started] == [None, None]
            time.sleep(0.1)
        started[1].send_signal(signal.SIGTERM)
        out, err = started[0].communicate(timeout=60)
        started[1].communicate(timeout=60)
    status = 128 + signal.SIGTERM
    assert [process.returncode for process in started] == [status, status], err
    last = max(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert f"SIGTERM: saved at step {last:,}." in out
    assert last % 3 == 0
    assert len(_position(tmp_path, last)) == 8


def test_a_position_is_joined_from_those_of_the_processes():
    identity = {"data.train": "abc"}
    states = [
        {"identity": identity, "position": {"shards": {str(s): {"step": s} for s in own}}}
        for own in ((0, 1), (2, 3))
    ]
    joined = joined_state(states)
    assert joined["identity"] == identity
    assert joined["position"]["shards"] == {str(s): {"step": s} for s in range(4)}
    same = {"identity": identity, "position": {"taken": 3}}
    assert joined_state([same, same]) == same


def test_one_process_alone_waits_for_nobody():
    assert gather({"a": 1}) == [{"a": 1}]
    assert all_reduce_max(7) == 7
    with process_zero_first("test"):
        pass
    assert fetch({"a": 1.0}) == {"a": 1.0}


@pytest.mark.parametrize(
    "where", ["nowhere", "host:1,2,x", "host:1,2,2", "host,1,0", "host:99999,2,0", "host:0,2,0"]
)
def test_what_is_no_address_is_refused(where):
    with pytest.raises(UserError, match=f"--distributed is {where}; "):
        init_distributed(where)


_ONE_FAILS = """
import sys, jax
from mmrec_jax.errors import UserError, exit_on_user_error
from mmrec_jax.train.processes import all_reduce_max, exit_on_error, init_distributed, require_same
with exit_on_error(), exit_on_user_error():
    init_distributed(sys.argv[1])
    assert all_reduce_max(jax.process_index()) == 1
    try:
        require_same(str(jax.process_index()), "they differ")
    except UserError as error:
        print(error, flush=True)
    if jax.process_index() == 1:
        raise UserError("a bad record")
    all_reduce_max(2)
"""


def test_an_error_in_one_process_ends_both_soon():
    with _started(2, lambda where: [sys.executable, "-c", _ONE_FAILS, where]) as processes:
        ends = [process.communicate(timeout=90) for process in processes]
    assert processes[1].returncode == 2
    assert ends[1][1].endswith("error: a bad record\n")
    assert processes[0].returncode not in (0, None)
    assert all("they differ" in out for out, _ in ends)


_WAITS = """
import sys, time
from mmrec_jax.errors import exit_on_user_error
from mmrec_jax.train.processes import exit_on_error, init_distributed
with exit_on_error(), exit_on_user_error():
    init_distributed(sys.argv[1])
    print("joined", flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_with_one_line(killed):
    with _started(2, lambda where: [sys.executable, "-c", _WAITS, where]) as processes:
        for process in processes:
            assert process.stdout.readline().startswith("process ")
            assert process.stdout.readline() == "joined\n"
        processes[killed].kill()
        _, err = processes[1 - killed].communicate(timeout=60)
    assert processes[1 - killed].returncode not in (0, None)
    assert err.startswith("error: another process")
    assert err.count("\n") == 1


def test_the_same_number_twice_ends_both_with_one_line():
    with _started(2, lambda where: [sys.executable, "-c", _WAITS, f"{where[:-1]}1"]) as processes:
        ends = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    assert all("number 1" in err and err.count("\n") == 1 for _, err in ends)


def test_a_workdir_of_its_own_is_refused(tmp_path):
    folders = iter((tmp_path / "a", tmp_path / "b"))
    with _started(2, lambda where: _command(next(folders), where)) as processes:
        ends = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    for (_, err), name in zip(ends, "ab", strict=True):
        assert f"error: --workdir {tmp_path / name} is not one folder for all processes" in err


def test_a_signal_that_comes_during_the_question_waits_for_the_next(monkeypatch):
    interrupt = Interrupt()

    def ask(number):
        interrupt.received = signal.SIGTERM  # it comes while the others are waited for
        return number

    monkeypatch.setattr(loop, "all_reduce_max", ask)
    monkeypatch.setattr(loop.jax, "process_count", lambda: 2)
    config = types.SimpleNamespace(train=types.SimpleNamespace(log_every=1))
    session = types.SimpleNamespace(p=types.SimpleNamespace(config=config))
    answers = [loop._Loop._is_asked_to_stop(session, 1, interrupt) for _ in range(2)]
    assert answers == [False, True]
