"""What two processes say to each other; `stream` and `prepared` have tests of their workers."""

import os
import signal

import pytest

from mmrec_jax.data.worker_process import WorkerEndedError, WorkerProcess

_ECHO = "tests.small_worker"


def test_what_is_sent_comes_back_and_what_is_printed_does_not(monkeypatch):
    monkeypatch.setenv("RAYON_NUM_THREADS", "7")
    worker = WorkerProcess(_ECHO, "lower it", {"OF_MINE": "3"})
    worker.send("RAYON_NUM_THREADS")
    worker.send("OF_MINE")
    assert [worker.receive(), worker.receive()] == ["1", "3"]
    worker.close()
    with pytest.raises(WorkerEndedError, match=r"^ended with status 0$"):
        worker.receive()
    with pytest.raises(WorkerEndedError, match=r"^ended with status 0$"):
        worker.send(1)
    worker.stop_receiving()


def test_a_killed_one():
    worker = WorkerProcess(_ECHO, "lower it")
    os.kill(worker.pid, signal.SIGKILL)
    said = r"^was killed by SIGKILL \(the system may be out of memory: lower it\)$"
    with pytest.raises(WorkerEndedError, match=said):
        worker.receive()
    with pytest.raises(WorkerEndedError, match=said):
        worker.send(b"x" * 2**20)
    worker.close()
    worker.stop_receiving()
