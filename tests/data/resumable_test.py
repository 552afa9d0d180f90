"""A saved position continues bit for bit in whatever can be trained on, and in nothing else."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import grain
import pytest

from mmrec_jax.data.corpus import Corpus
from mmrec_jax.data.mixture import MixedRows, Mixture
from mmrec_jax.data.packing import segments_row
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from tests.small_data import assert_resumable, config_of, refused
from tests.small_run import ROOT
from tests.small_text import SOURCES, NumberTokenizer, text_dataset

_STAGES = ((1, (3, 1)), (9, (1, 3)), (20, (0, 1)))
_KINDS = {
    "stored": {},
    "mapped": {},
    "stored, carried": {"carry_state": True},
    "mapped, carried": {"carry_state": True},
    "two stored, mixed": {"weights": _STAGES},
    "two mapped, mixed": {"weights": _STAGES},
}


def _open(kind, **fields):
    return text_dataset(kind.split(",")[0], **{**_KINDS[kind], **fields})


@pytest.mark.parametrize("kind", _KINDS)
def test_text_continues_on_any_number_of_processes(kind):
    data = _open(kind)
    assert_resumable(
        lambda index, count: data.batches(8, process_index=index, process_count=count),
        steps=40,
        every=9,
        processes=(1, 2, 4, 8) if kind in ("stored", "mapped, carried") else (1, 4),
    )


def _task(**fields):
    fields = {"seq_len": 20, "train__sample_tokens": 0, "train__batch_size": 4, **fields}
    sizes = {"max_length": 10, "eval_lengths": (5,), "tokenizer__kind": "char"}
    return TaskDataset(config_of("parity", **{**sizes, **fields}).data)


def test_a_task_continues():
    def batches(index, count):
        return _task().batches(4, process_index=index, process_count=count)

    assert_resumable(batches, steps=20, every=5, processes=(1, 2))


def test_mixed_rows_keep_to_the_contract_of_grain():
    chunks = [Corpus([source], NumberTokenizer()).chunks(16) for source in SOURCES["two stored"]]
    rows = [
        grain.MapDataset.source(each)
        .map(lambda window: segments_row([window], 16))
        .repeat()
        .to_iter_dataset()
        for each in chunks
    ]
    mixed = MixedRows(rows, Mixture(((1, (3.0, 1.0)), (4, (1.0, 2.0)))), rows_per_step=5)
    grain.experimental.assert_equal_output_after_checkpoint(
        grain.experimental.LimitIterDataset(mixed, 40)
    )


_CHANGES = {
    "stored": {"data.seq_len": 8, "data.packing_windows": 5, "data.seed": 1, "data.shards": 2}
    | {"train.carry_state": True},
    "stored, carried": {"train.carry_state": False, "data.seed": 1},
    "two stored, mixed": {"data.weights": (1, 1)},
}


@pytest.mark.parametrize("kind", _CHANGES)
def test_a_position_belongs_to_its_data(kind):
    state = json.loads(json.dumps(_open(kind).batches(8).get_state()))
    for named, value in _CHANGES[kind].items():
        other = _open(kind, **{named.split(".")[1]: value}).batches(8)
        with refused("position", f"{named} (saved", "--fresh", "--config.init_from"):
            other.set_state(state)
    with refused("train.batch_size (saved 8, now 16)"):
        _open(kind).batches(16).set_state(state)
    with refused("data.train (saved"):
        text_dataset("mapped", **_KINDS[kind] | {"weights": ()}).batches(8).set_state(state)


def test_the_position_of_an_earlier_version_is_refused_with_a_remedy():
    identity = {"tokens": "0123", "data.seq_len": 16, "data.seed": 0, "train.batch_size": 8}
    old = {"identity": identity, "position": {"step": 3, "taken": [9], "used": 1}}
    with refused("earlier version", "--fresh", "--config.init_from=FOLDER"):
        _open("stored").batches(8).set_state(old)


def test_a_task_of_another_size_is_refused():
    state = _task().batches(4).get_state()
    with refused("task.max_length (saved 10, now 9)"):
        _task(max_length=9).batches(4).set_state(state)


_READER = """
import hashlib, json, os, sys
from mmrec_jax.data.train_iterator import joined_state
from tests.data.resumable_test import _open
kind, folder, every = sys.argv[1], sys.argv[2], int(sys.argv[3])
batches, step, saved = _open(kind).batches(8), 0, os.path.join(folder, "saved.json")
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
@pytest.mark.parametrize("kind", _KINDS)
def test_killed_at_random_moments_nothing_is_lost_or_doubled(kind, tmp_path):
    assert _kill_and_compare(kind, tmp_path, kills=20, every=7, seconds=1.0) > 100
