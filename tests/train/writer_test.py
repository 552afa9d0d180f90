import json
import math

import numpy as np
import pytest
from tensorboardX import proto

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.train.writer import MetricsWriter, read_metrics


def _lines(place):
    return [json.loads(line) for line in place.metrics.read_text("utf-8").splitlines()]


def _write(place, steps, resume_step=0):
    writer = MetricsWriter(place, resume_step=resume_step)
    for step in steps:
        writer.write(step, "train", {"loss": float(step)})
    writer.close()


def test_one_object_a_line_flushed_at_once(tmp_path):
    place = Workdir(tmp_path)
    writer = MetricsWriter(place, resume_step=0)
    writer.write(10, "train", {"loss": 1.5, "tokens_per_second": 8.0})
    writer.write(10, "validation", {"loss": 2.5})
    expected = [
        {"step": 10, "split": "train", "loss": 1.5, "tokens_per_second": 8.0},
        {"step": 10, "split": "validation", "loss": 2.5},
    ]
    assert _lines(place) == expected  # before it is closed: what a kill would leave
    writer.close()
    assert read_metrics(place.metrics) == expected


@pytest.mark.parametrize("tail", ["", '{"step": 4, "split": "tr', '{"step": 4', "{"])
def test_a_resume_removes_later_steps_and_a_line_cut_off(tmp_path, tail):
    place = Workdir(tmp_path)
    _write(place, [1, 2, 3])
    with place.metrics.open("a") as stream:
        stream.write(tail)
    assert [line["step"] for line in read_metrics(place.metrics)] == [1, 2, 3]
    _write(place, [3, 4], resume_step=2)
    assert [line["step"] for line in _lines(place)] == [1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["metrics.jsonl"]


def test_a_new_run_begins_an_empty_file(tmp_path):
    place = Workdir(tmp_path)
    _write(place, [1, 2, 3])
    _write(place, [1])
    assert [line["step"] for line in _lines(place)] == [1]


def test_there_may_be_no_file(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def _events(folder):
    """Scalars in TensorBoard's files."""
    for event in _all_events(folder):
        yield from ((v.tag, event.step, v.simple_value) for v in event.summary.value)


def _all_events(folder):
    """What is in TensorBoard's files: length (8 bytes), checksum (4), event, checksum (4)."""
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            yield proto.event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]


def test_tensorboard_gets_the_same_numbers(tmp_path):
    place = Workdir(tmp_path)
    writer = MetricsWriter(place, resume_step=0)
    writer.write(3, "train", {"loss": 1.5, "grad_norm": 0.5})
    writer.close()
    assert list(_events(place.tensorboard)) == [
        ("train/loss", 3, 1.5),
        ("train/grad_norm", 3, 0.5),
    ]


def test_tensorboard_gets_histograms(tmp_path):
    place = Workdir(tmp_path)
    writer = MetricsWriter(place, resume_step=0)
    counts = np.array([3, 0, 1])
    writer.write_histograms(5, "recurrence", {"write/layer_0": (np.array([0, 1, 2, 4]), counts)})
    writer.close()
    (value,) = (v for event in _all_events(place.tensorboard) for v in event.summary.value)
    assert value.tag == "recurrence/write/layer_0"
    assert list(value.histo.bucket_limit) == [1, 2, 4]
    assert list(value.histo.bucket) == [3, 0, 1]
    assert (value.histo.num, value.histo.sum) == (4, 3 * 0.5 + 3)
    assert not _lines(place)


def test_an_infinite_number_stays_valid_json(tmp_path):
    place = Workdir(tmp_path)
    writer = MetricsWriter(place, resume_step=0)
    writer.write(1, "validation", {"loss": 800.0, "perplexity": math.inf})
    writer.close()

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    line = json.loads(place.metrics.read_text("utf-8"), parse_constant=refuse)
    assert line == {"step": 1, "split": "validation", "loss": 800.0, "perplexity": None}


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    place = Workdir(tmp_path)
    _write(place, [1])
    before = place.metrics.read_text("utf-8"), sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("jax.process_index", lambda: 1)
    _write(place, [1, 2])
    assert (place.metrics.read_text("utf-8"), sorted(tmp_path.rglob("*"))) == before
