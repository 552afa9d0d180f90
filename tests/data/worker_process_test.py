"""What two processes say to each other, and the memory they take; this file is the worker too."""

import contextlib
import mmap
import os
import signal
import subprocess
import types

import pytest

from mmrec_jax.data import process_memory as module
from mmrec_jax.data.prepared.memory import total_memory
from mmrec_jax.data.process_memory import process_memory
from mmrec_jax.data.worker_process import ParentProcess, WorkerEndedError, WorkerProcess

_ECHO = "tests.data.worker_process_test"
_SAYS = os.path.exists("/proc/self/smaps_rollup")


def test_what_is_sent_comes_back_and_what_is_printed_does_not(monkeypatch):
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    worker = WorkerProcess(_ECHO, "lower it", {"OF_MINE": "3"})
    os.kill(worker.pid, signal.SIGINT)  # before it has got as far as any code of ours
    worker.send("RAYON_NUM_THREADS")
    worker.send("OF_MINE")
    assert [worker.receive(), worker.receive()] == ["1", "3"]
    worker.close()
    for speak in (worker.receive, lambda: worker.send(1)):
        with pytest.raises(WorkerEndedError, match="status 0"):
            speak()
    worker.stop_receiving()


def test_a_killed_one():
    worker = WorkerProcess(_ECHO, "lower it")
    os.kill(worker.pid, signal.SIGKILL)
    for speak in (worker.receive, lambda: worker.send(b"x" * 2**20)):
        with pytest.raises(WorkerEndedError, match=r"SIGKILL .*lower it"):
            speak()
    worker.close()
    worker.stop_receiving()


@pytest.mark.skipif(not _SAYS, reason="this system does not say how much memory a process takes")
def test_memory_that_is_taken_is_seen():
    before = process_memory(os.getpid())
    taken = mmap.mmap(-1, 40_000_000)  # not memory that was freed before
    for page in range(0, len(taken), mmap.PAGESIZE):
        taken[page] = 1
    after = process_memory(os.getpid())
    assert 35e6 < after - before < 60e6
    assert abs(total_memory([os.getpid()]) - 2 * after) < 1e6
    taken.close()
    assert process_memory(2**22 + 1) == 0  # that of a process that ended


@pytest.mark.parametrize(("said", "expected"), [(b" 1234\n", 1234 * 1024), (b"", 0), (None, 0)])
def test_elsewhere_ps_is_asked(monkeypatch, tmp_path, said, expected):
    def run(*_, **__):
        if said is None:
            raise FileNotFoundError
        return types.SimpleNamespace(stdout=said)

    monkeypatch.setattr(module, "Path", lambda name: tmp_path / name.lstrip("/"))
    monkeypatch.setattr(subprocess, "run", run)
    assert process_memory(1) == expected


if __name__ == "__main__":
    parent = ParentProcess()
    with contextlib.suppress(EOFError):
        while True:
            name = parent.receive()
            print("not for the other process", flush=True)
            parent.send(os.environ[name])
