"""A reader of training text that is killed again and again loses nothing and doubles nothing."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.data.resumable_test import KINDS
from tests.small_run import ROOT

_READER = """
import hashlib, json, os, sys
from mmrec_jax.data.train_iterator import joined_state
from tests.data.resumable_test import open_kind
kind, folder, every = sys.argv[1], sys.argv[2], int(sys.argv[3])
batches, step, saved = open_kind(kind).batches(8), 0, os.path.join(folder, "saved.json")
if os.path.exists(saved):
    step, state = json.load(open(saved))
    batches.set_state(state)
with open(os.path.join(folder, "log"), "a") as log:
    while True:
        batch = next(batches)
        step += 1
        digest = hashlib.sha256(b"".join(batch[name].tobytes() for name in sorted(batch)))
        print(step, digest.hexdigest(), file=log, flush=True)
        if step % every == 0:
            with open(saved + ".new", "w") as file:
                json.dump([step, joined_state([batches.get_state()])], file)
            os.replace(saved + ".new", saved)
"""


def _kill_and_compare(kind, folder, kills, every, seconds):
    """Every batch that a killed and continued reader logs is that of one that never stops."""
    choose = random.Random(0)
    command = [sys.executable, "-c", _READER, kind, str(folder), str(every)]
    for _ in range(kills):
        before = os.path.getsize(folder / "log") if (folder / "log").exists() else 0
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
        while not (folder / "log").exists() or os.path.getsize(folder / "log") <= before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(choose.uniform(0, seconds))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    digests = {}
    for line in (folder / "log").read_text().split("\n")[:-1]:
        step, digest = line.split()
        assert digests.setdefault(int(step), digest) == digest
    assert sorted(digests) == list(range(1, len(digests) + 1))
    return len(digests)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_random_moments_nothing_is_lost_or_doubled(kind, tmp_path):
    assert _kill_and_compare(kind, tmp_path, kills=20, every=7, seconds=1.0) > 100
