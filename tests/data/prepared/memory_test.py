import pytest

from mmrec_jax.data.prepared import memory_watch
from mmrec_jax.data.prepared.memory import affordable_workers, worker_bytes
from mmrec_jax.data.prepared.memory_watch import MemoryWatch
from mmrec_jax.errors import UserError


def test_workers_that_do_not_fit_are_not_started():
    own, each = 50e6, worker_bytes(1_000_000)
    assert affordable_workers(8, own + 3.5 * each, own, 1_000_000) == 3
    assert affordable_workers(2, own + 3.5 * each, own, 1_000_000) == 2
    assert affordable_workers(0, 1, own, 1_000_000) == 0
    with pytest.raises(UserError, match=r"about 121 MB beside the 50 MB .* to at least 171"):
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
    with pytest.raises(
        UserError,
        match=r"takes 120 MB and --ram-mb allows 100, .*ahead; raise it: the same command",
    ):
        watch.look()
