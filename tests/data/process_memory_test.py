import mmap
import os
import subprocess
import types

import pytest

from mmrec_jax.data import process_memory as module
from mmrec_jax.data.prepared.memory import total_memory
from mmrec_jax.data.process_memory import process_memory

_SAYS = os.path.exists("/proc/self/smaps_rollup")


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


def test_a_process_that_ended_takes_nothing():
    assert process_memory(2**22 + 1) == 0


def _refuse(*_, **__):
    raise FileNotFoundError


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda *_, **__: types.SimpleNamespace(stdout=b" 1234\n"), 1234 * 1024),
        (lambda *_, **__: types.SimpleNamespace(stdout=b""), 0),
        (_refuse, 0),
    ],
)
def test_elsewhere_ps_is_asked(monkeypatch, tmp_path, run, expected):
    monkeypatch.setattr(module, "Path", lambda name: tmp_path / name.lstrip("/"))
    monkeypatch.setattr(subprocess, "run", run)
    assert process_memory(1) == expected
