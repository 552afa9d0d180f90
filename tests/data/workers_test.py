"""Processes that read a stream or prepare text: what they may use, what becomes of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmrec_jax.data.mixture import Mixture
from mmrec_jax.data.prepared import memory_watch
from mmrec_jax.data.prepared.encoded_chunk import encode_chunk
from mmrec_jax.data.prepared.memory import affordable_workers, worker_bytes
from mmrec_jax.data.prepared.memory_watch import MemoryWatch
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.prepared.worker_pool import WorkerPool
from mmrec_jax.data.stream.blocks import Shuffle
from mmrec_jax.data.stream.budget import MEGABYTE, Allowance, allow
from mmrec_jax.data.stream.group import ShardGroup
from mmrec_jax.data.stream.plan import Admission, StreamPlan
from mmrec_jax.tokenizers.byte import ByteTokenizer
from tests.small_corpus import small_sources, write_corpus
from tests.small_data import assert_same, refused, take
from tests.small_run import ROOT
from tests.small_stream import sources, stream, write_lines


def test_workers_that_do_not_fit_are_not_started():
    own, each = 50e6, worker_bytes(1_000_000)
    assert affordable_workers(8, own + 3.5 * each, own, 1_000_000) == 3
    assert affordable_workers(2, own + 3.5 * each, own, 1_000_000) == 2
    assert affordable_workers(0, 1, own, 1_000_000) == 0
    with refused("--ram-mb", "121", "171"):
        affordable_workers(2, own + 0.5 * each, own, 1_000_000)


def test_it_gives_back_first_and_stops_last(monkeypatch):
    taken, now, shrunk = 0.0, 0.0, []
    monkeypatch.setattr(memory_watch, "total_memory", lambda _: int(taken))
    monkeypatch.setattr(memory_watch.time, "monotonic", lambda: now)

    def shrink():
        shrunk.append(now)
        return len(shrunk) <= 3

    watch = MemoryWatch(100e6, lambda: [], shrink)
    for second, size in ((1, 84e6), (2, 86e6), (3, 99e6), (3.1, 2e8), (5, 90e6), (6, 101e6)):
        now, taken = second, size
        watch.look()
    assert shrunk == [2, 5, 6]  # patience at 3; at 3.1 it is not time to look yet
    assert watch.peak == 101e6
    now, taken = 9, 99e6
    watch.look()  # nothing left to give back, but within the budget
    now, taken = 10, 120e6
    with refused("--ram-mb", "120 MB", 100):
        watch.look()


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _ended(pid):
    """Whether it ends within ten seconds."""
    until = time.monotonic() + 10
    while _runs(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not _runs(pid)


def test_what_befalls_workers(tmp_path):
    ByteTokenizer().save(tmp_path / "tokenizer")
    settings = PrepareSettings()
    chunks = list(small_sources(write_corpus(tmp_path))[0].files[0].chunks())[:6]
    with WorkerPool(2, tmp_path / "tokenizer", settings, "stop") as pool:
        first, second = pool.pids
        futures = [pool.submit(chunk) for chunk in chunks]
        for chunk, future in zip(chunks, futures, strict=True):
            expected = encode_chunk(chunk, ByteTokenizer(), settings, "stop")
            assert future.result().tokens.tolist() == expected.tokens.tolist()
        # Ctrl-C reaches the whole group of processes; the workers leave it to their parent.
        os.kill(first, signal.SIGINT)
        os.kill(second, signal.SIGINT)
        assert pool.submit(chunks[0]).result().counts["read"] > 0
        assert pool.retire()
        assert not pool.retire()
        (left,) = pool.pids
        assert _ended(({first, second} - {left}).pop())
        assert pool.submit(chunks[0]).result().counts["read"] > 0
        os.kill(left, signal.SIGKILL)
        with refused("SIGKILL"):
            pool.submit(chunks[0]).result()
    assert _ended(left)


@pytest.fixture
def folder(tmp_path):
    return write_lines(tmp_path / "a")


def _plan(block_megabytes=8, lanes=2, seq_len=256, weights="1"):
    read = (None,) * len(weights.split(","))
    shuffle = Shuffle(0, 8, 4 * block_megabytes, block_megabytes * MEGABYTE)
    return StreamPlan(read, Mixture.parse(weights, len(read)), Admission(), shuffle, lanes, seq_len)


@pytest.mark.parametrize(
    ("megabytes", "wanted", "tokenizer", "workers"),
    [
        (1500, 4, 0, 4),
        (1500, 40, 0, 8),
        (260, 4, 0, 2),
        (200, 4, 0, 1),
        (1500, 0, 0, 0),
        (1500, 1, 0, 1),
        # A large tokenizer leaves room for fewer.
        (1500, 8, 11, 7),
        (500, 4, 11, 2),
    ],
)
def test_as_many_workers_as_fit(megabytes, wanted, tokenizer, workers):
    allowance = allow(_plan(), 8, wanted, megabytes, tokenizer * MEGABYTE)
    assert allowance.workers == workers
    assert 1 < allowance.ready <= 128


def test_fewer_batches_are_ready_before_an_error_and_unread_sources_take_no_memory():
    plan = _plan(block_megabytes=1, lanes=4, seq_len=2**17)
    assert [allow(plan, 8, 1, megabytes, 0).ready for megabytes in (600, 250)] == [4, 1]
    assert allow(_plan(weights="1,0,0"), 8, 4, 260, 0).workers == 2
    for refused_plan, megabytes in ((plan, 100), (_plan(weights="1,1,1"), 300)):
        with refused(f"config.data.ram_mb is {megabytes}", "config.data.shuffle_mb"):
            allow(refused_plan, 8, 1, megabytes, 0)


class _Worker(ShardGroup):
    """As a worker process that uses more than it may until little is ready."""

    limit, num_ready, pid, closed = 4, 3, 0, False

    @property
    def memory(self):
        return (5 + self.limit) * MEGABYTE

    def close(self):
        self.closed = True


@pytest.mark.parametrize("megabytes", [7, 5])
def test_over_the_budget_less_is_kept_ready_and_then_training_ends(folder, megabytes):
    batches = stream(sources(folder))
    batches.start()
    (worker,) = batches._pieces
    worker.__class__ = _Worker
    batches._workers = [worker]
    batches._allowance = Allowance(1, 4, megabytes)
    for limit in (2, 2, 2) if megabytes == 7 else (2, 1):
        batches._check_memory()
        assert worker.limit == limit
        next(batches)
    if megabytes == 7:
        assert batches.metrics()["input_memory_mb"] == 7
        assert batches.metrics()["ready_batches"] == 3
        return
    batches._check_memory()
    with refused("ram_mb is 5", "6 MB"):
        next(batches)
    assert worker.closed
    batches._allowance = Allowance(0, 4, 5)
    next(batches)  # others begin anew


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
    with refused(pid, "SIGKILL"):
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
    assert _ended(pid)


def test_what_a_worker_refuses_is_said_in_one_line(folder):
    (folder / "d.txt").write_bytes(b"g\xf6l\n" * 9)
    batches = stream(sources(folder), workers=1)
    with refused("d.txt", "UTF-8"):
        take(batches, 200)
    assert not batches.worker_ids()
