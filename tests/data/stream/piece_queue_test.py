"""Real worker processes; few, since each takes a second."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmrec_jax.errors import UserError
from tests.small_run import ROOT
from tests.small_stream import assert_same, sources, stream, take, write_lines


@pytest.fixture
def folder(tmp_path):
    return write_lines(tmp_path / "a")


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _ends(pid, seconds=10):
    until = time.monotonic() + seconds
    while _runs(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not _runs(pid)


def test_any_number_of_workers_reads_the_same(folder):
    alone, batches = stream(sources(folder)), stream(sources(folder), workers=2)
    expected = []
    for _ in range(7):  # the position is the same at each batch, whether it is asked for or not
        expected += take(alone, 1)
        assert_same(take(batches, 1), expected[-1:])
        assert batches.get_state() == alone.get_state()
        assert batches.metrics()["epochs"] == alone.metrics()["epochs"]
    expected += take(alone, 5)
    workers = batches.worker_ids()
    assert len(workers) == 2
    for pid in workers:  # a worker ignores the signals that tell training to save
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "numpy" in maps
        assert "jaxlib" not in maps
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    state = batches.get_state()
    assert_same(take(batches, 5), expected[7:])
    assert batches.get_state() == alone.get_state()
    batches.close()
    assert not any(map(_runs, workers))

    one = stream(sources(folder), workers=1)
    one.set_state(state)
    assert_same(take(one, 5), expected[7:])
    one._check_memory()
    metrics = one.metrics()
    assert metrics.keys() == {"epochs", "ready_batches", "input_memory_mb"}
    assert 20 < metrics["input_memory_mb"] < 150
    (pid,) = one.worker_ids()
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(UserError, match=f"the input process {pid} was killed by SIGKILL"):
        take(one, 100)
    assert not one.worker_ids()


_PARENT = """
import sys, time
from pathlib import Path
from tests.small_stream import sources, stream
batches = stream(sources(Path(sys.argv[1])), workers=1)
next(batches)
print(*batches.worker_ids(), flush=True)
time.sleep(100)
"""


def test_no_worker_outlives_a_killed_parent(folder):
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(folder)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    )
    pid = int(parent.stdout.readline())
    assert _runs(pid)
    parent.kill()
    parent.wait()
    assert _ends(pid)


def test_what_a_worker_refuses_is_said_in_one_line(folder):
    (folder / "d.txt").write_bytes(b"g\xf6l\n" * 9)
    batches = stream(sources(folder), workers=1)
    with pytest.raises(UserError, match=r"d\.txt: not UTF-8 at byte offset"):
        take(batches, 200)
    assert not batches.worker_ids()
