"""What preparing may use, and what becomes of its processes."""

import os
import signal
import time

from mmrec_jax.data.byte_tokenizer import ByteTokenizer
from mmrec_jax.data.prepared import memory_watch
from mmrec_jax.data.prepared.encoded_chunk import encode_chunk
from mmrec_jax.data.prepared.memory import affordable_workers, worker_bytes
from mmrec_jax.data.prepared.memory_watch import MemoryWatch
from mmrec_jax.data.prepared.settings import PrepareSettings
from mmrec_jax.data.prepared.worker_pool import WorkerPool
from tests.small_corpus import small_sources, write_corpus
from tests.small_data import refused


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


def _ended(pid):
    for _ in range(200):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rsplit(")")[-1].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


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
