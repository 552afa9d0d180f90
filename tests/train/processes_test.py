"""Runs of several processes: what they compute, save and say is what one process does."""

import contextlib
import json
import shutil
import signal
import socket
import sys
import time
import types

import pytest

from mmrec_jax.checkpoints.load import read_adapters
from mmrec_jax.errors import UserError
from mmrec_jax.train import loop
from mmrec_jax.train.interrupt import Interrupt
from mmrec_jax.train.processes import (
    init_distributed,
)
from tests.pretrained.small_folder import write_folder
from tests.small_run import (
    LINEAR,
    command,
    flags,
    metrics,
    session_text,
    small_config,
    started,
    train,
)

_RUN = {
    **LINEAR,
    "train__steps": 4,
    "train__eval_every": 4,
    "train__checkpoint_every": 2,
    "train__keep_last": 1000,
    "train__log_every": 2,
    "train__sample_tokens": 4,
    "optim__schedule": "constant",  # the same first steps whatever the length
}
_CONFIG = small_config(session_text(), **_RUN, train__devices=2)


@contextlib.contextmanager
def _started(count, command_of):
    """So many processes with a device each, which are told where they are; killed at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]},{count}"
    with contextlib.ExitStack() as stack:
        commands = [command_of(f"{where},{number}") for number in range(count)]
        yield [stack.enter_context(started(each)) for each in commands]


def _processes(workdir, **overrides):
    """A run of two processes."""
    options = flags(**{**_RUN, **overrides})
    return _started(2, lambda where: command(workdir, *options, f"--distributed={where}"))


def _wait_for(path, processes):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        assert [process.poll() for process in processes] == [None, None]
        time.sleep(0.1)


def _finish(processes):
    """The standard outputs, once all have ended well."""
    outputs = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        outputs.append(out)
    return outputs


def _data(folder, step):
    return json.loads((folder / "checkpoints" / str(step) / "data" / "metadata").read_text())


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The run of one process with two devices; its metrics and its end."""
    folder = tmp_path_factory.mktemp("one") / "run"
    assert loop.run(_CONFIG, folder) == 0
    return folder, metrics(folder), _data(folder, 4)


def _cut(folder, target):
    """A copy as if killed before anything after step 2 was saved."""
    shutil.copytree(folder, target)
    for path in (target / "checkpoints").iterdir():
        if path.name != "2":
            shutil.rmtree(path)
    return target


def test_two_processes_are_one_until_a_signal_stops_both_and_one_goes_on_from_them(one, tmp_path):
    """The signal comes to one of them; they stop at one step, of which a line is logged."""
    whole, expected, position = one
    two = tmp_path / "two"
    with _processes(two, train__steps=100_000) as pair:
        _wait_for(two / "checkpoints" / "4", pair)
        pair[1].send_signal(signal.SIGTERM)
        (first, err), (second, _) = (process.communicate(timeout=60) for process in pair)
    status = 128 + signal.SIGTERM
    assert [process.returncode for process in pair] == [status, status], err
    assert "2 cpu device(s) in 2 processes; 100,000 steps" in first
    last = max(int(path.name) for path in (two / "checkpoints").iterdir())
    assert f"SIGTERM: saved at step {last:,}." in first
    assert last % 2 == 0
    said = [line for line in second.splitlines() if not line.startswith("[Gloo]")]
    assert len(said) == 1
    assert said[0].startswith("process 1 of 2 looks for 127.0.0.1:")
    assert metrics(two)[: len(expected)] == expected
    assert [line["split"] for line in expected] == [*["train"] * 2, "validation", "recurrence"]
    assert _data(two, 2) == _data(whole, 2)
    cut = _cut(two, tmp_path / "cut")
    assert loop.run(_CONFIG, cut) == 0
    assert metrics(cut) == expected
    assert _data(cut, 4) == position


@pytest.mark.soak
def test_two_processes_with_half_of_each_matrix_go_on_from_one_with_all_of_it(one, tmp_path):
    """They evaluate, draw their dashboard's numbers and write a sample, too."""
    (folder, expected, position), sample = one, "samples/step_0000004.txt"
    two = _cut(folder, tmp_path / "two")
    (two / sample).unlink()
    with _processes(two, mesh__data=1, mesh__fsdp=2) as pair:
        assert "continuing from the checkpoint of step 2" in _finish(pair)[0]
    for before, after in zip(expected, metrics(two), strict=True):
        assert before.pop("split") == after.pop("split")
        assert after == pytest.approx(before, abs=1e-4, rel=1e-4)
    assert (two / sample).read_text("utf-8") == (folder / sample).read_text("utf-8")
    assert _data(two, 4) == position


@pytest.mark.soak
@pytest.mark.parametrize("base_dtype", ["", "nf4"])
def test_two_processes_read_a_pretrained_base_as_one_does(tmp_path, base_dtype):
    """Each reads every tensor, and places its own part of it; the identity is that of all parts."""
    write_folder(tmp_path / "base", dtype="bfloat16", shards=2)
    fields = {"init_from": tmp_path / "base", "adapters__kind": "dora", "adapters__rank": 2}
    fields |= {"adapters__base_dtype": base_dtype, "mesh__data": 1, "mesh__fsdp": 2}
    fields |= {"train__steps": 4, "train__eval_every": 4, "train__sample_tokens": 0}
    options = flags(**fields, data__seq_len=32, objectives__uboo=None)
    two = tmp_path / "two"
    with _started(2, lambda where: command(two, *options, f"--distributed={where}")) as pair:
        _finish(pair)
    result = train(tmp_path / "one", *options, devices=2)
    assert result.returncode == 0, result.stderr
    for before, after in zip(metrics(tmp_path / "one"), metrics(two), strict=True):
        assert before.pop("split") == after.pop("split")
        assert after == pytest.approx(before, abs=1e-4, rel=1e-4)
    one, two = (read_adapters(tmp_path / each, "last") for each in ("one", "two"))
    assert one.base["identity"] == two.base["identity"]


@pytest.mark.parametrize(
    "where", ["nowhere", "host:1,2,x", "host:1,2,2", "host,1,0", "host:99999,2,0", "host:0,2,0"]
)
def test_what_is_no_address_is_refused(where):
    with pytest.raises(UserError, match=f"--distributed is {where}; "):
        init_distributed(where)


_ONE_FAILS = """
import sys, jax
from pathlib import Path
from mmrec_jax.errors import UserError, exit_on_user_error
from mmrec_jax.train.processes import (
    all_reduce_max, exit_on_error, init_distributed, require_same, require_shared
)
with exit_on_error(), exit_on_user_error():
    init_distributed(sys.argv[1])
    number = jax.process_index()
    assert all_reduce_max(number) == 1
    own = Path(sys.argv[2]) / str(number)
    own.mkdir()
    for check in (
        lambda: require_same(str(number), "they differ"), lambda: require_shared(own, "--workdir")
    ):
        try:
            check()
        except UserError as error:
            print(error, flush=True)
    require_shared(own.parent, "--workdir")
    if number == 1:
        raise UserError("a bad record")
    all_reduce_max(2)
"""


def test_what_differs_is_refused_by_all_and_an_error_in_one_ends_both_soon(tmp_path):
    script = [sys.executable, "-c", _ONE_FAILS]
    with _started(2, lambda where: [*script, where, str(tmp_path)]) as processes:
        ends = [process.communicate(timeout=90) for process in processes]
    assert processes[1].returncode == 2
    assert ends[1][1].endswith("error: a bad record\n")
    assert processes[0].returncode not in (0, None)
    for number, (out, _) in enumerate(ends):
        assert "they differ" in out
        assert f"--workdir {tmp_path / str(number)} is not one folder for all processes" in out


_WAITS = """
import sys, time
from mmrec_jax.errors import exit_on_user_error
from mmrec_jax.train.processes import exit_on_error, init_distributed
with exit_on_error(), exit_on_user_error():
    init_distributed(sys.argv[1])
    print("joined", flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("killed", [0, pytest.param(1, marks=pytest.mark.soak)])
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
