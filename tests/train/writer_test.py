import importlib.util
import json
import math
import sys
from unittest import mock

import pytest
from tensorboardX import proto

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.errors import UserError
from mmrec_jax.train.writer import (
    check_writers,
    open_json_lines,
    open_writers,
    read_metrics,
    require_workdir,
)


def _config(*writers):
    return Config(train=TrainConfig(steps=1, writers=writers))


def _lines(place):
    return [json.loads(line) for line in place.metrics.read_text("utf-8").splitlines()]


def _write(place, steps, resume_step=0):
    writer = open_writers(Config(), place, resume_step=resume_step)
    for step in steps:
        writer.write(step, "train", {"loss": float(step)})
    writer.close()


def test_one_object_per_line_flushed_at_once(tmp_path):
    place = Workdir(tmp_path)
    writer = open_json_lines(place.metrics, 0)
    writer.write(10, "train", {"loss": 1.5, "tokens_per_second": 8.0})
    writer.write(10, "validation", {"loss": 800.0, "perplexity": math.inf})
    expected = [
        {"step": 10, "split": "train", "loss": 1.5, "tokens_per_second": 8.0},
        {"step": 10, "split": "validation", "loss": 800.0, "perplexity": None},
    ]
    assert _lines(place) == expected  # before it is closed: what a kill would leave
    writer.close()
    assert read_metrics(place.metrics) == expected
    _write(place, [1])  # a new run
    assert [line["step"] for line in _lines(place)] == [1]


@pytest.mark.parametrize("tail", ["", '{"step": 4, "split": "tr', '{"step": 4', "{"])
def test_a_resume_removes_later_steps_and_a_line_cut_off(tmp_path, tail):
    place = Workdir(tmp_path)
    assert read_metrics(place.metrics) == []
    _write(place, [1, 2, 3])
    with place.metrics.open("a") as stream:
        stream.write(tail)
    assert [line["step"] for line in read_metrics(place.metrics)] == [1, 2, 3]
    _write(place, [3, 4], resume_step=2)
    assert [line["step"] for line in _lines(place)] == [1, 2, 3, 4]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["metrics.jsonl"]


@pytest.mark.parametrize("bad", range(7))
def test_a_bad_line_costs_no_other_line(tmp_path, bad):
    """Nor does a newline that is missing at the end."""
    lines = [b'{"step": 1, "spl', b"\xff\xfe", b"3", b"null", b'{"step": "x"}', b"", b"[" * 200_000]
    place = Workdir(tmp_path)
    line = b'{"step":  2, "split": "train", "loss": 1e0, "text": "\xe2\x80\xa8"}'
    place.metrics.write_bytes(b"\n".join([line, lines[bad], line]))
    assert [x["loss"] for x in read_metrics(place.metrics)] == [1.0, 1.0]
    _write(place, [3], resume_step=2)
    assert place.metrics.read_bytes().split(b"\n")[:3] == [line, lines[bad], line]
    assert len(read_metrics(place.metrics)) == 3


def test_files_that_are_removed_while_the_run_trains_end_it(tmp_path):
    place = Workdir(tmp_path)
    place.config.write_text("{}")
    require_workdir(place)
    writer = open_writers(Config(), place, resume_step=0)
    for path in (place.metrics, place.config):
        path.unlink()
    with pytest.raises(UserError, match=str(place.metrics)):
        writer.write(1, "train", {"loss": 1.0})
    writer.close()
    with pytest.raises(UserError, match=str(place.config)):
        require_workdir(place)


def _events(folder):
    """What is in TensorBoard's files: length (8 bytes), checksum (4), event, checksum (4)."""
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            yield proto.event_pb2.Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]


def test_tensorboard_gets_the_same_numbers(tmp_path):
    place = Workdir(tmp_path)
    writer = open_writers(_config("tensorboard"), place, resume_step=0)
    writer.write(3, "train", {"loss": 1.5, "grad_norm": 0.5})
    writer.close()
    scalars = [
        (value, event.step) for event in _events(place.tensorboard) for value in event.summary.value
    ]
    assert [(value.tag, step, value.simple_value) for value, step in scalars] == [
        ("train/loss", 3, 1.5),
        ("train/grad_norm", 3, 0.5),
    ]
    assert not place.metrics.exists()


def test_the_console_shows_a_line_of_numbers(tmp_path, capsys):
    writer = open_writers(_config("console"), Workdir(tmp_path), resume_step=0)
    writer.write(3, "train", {"loss": 1.23456, "tokens": 174335.0})
    writer.close()
    assert capsys.readouterr().out == "step 3 train: loss 1.235, tokens 1.743e+05\n"
    assert not list(tmp_path.iterdir())


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    place = Workdir(tmp_path)
    _write(place, [1])
    before = place.metrics.read_text("utf-8"), sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("jax.process_index", lambda: 1)
    _write(place, [1, 2])
    assert (place.metrics.read_text("utf-8"), sorted(tmp_path.rglob("*"))) == before


@pytest.mark.parametrize("name", ["wandb", "trackio", "csv"])
def test_a_writer_that_is_missing_is_refused_by_name(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"config\.train\.writers .*{name}") as caught:
        check_writers(["jsonl", name])
    assert ("mmrec_jax[" in str(caught.value)) == (name != "csv")


def _open_mocked(name, folder, monkeypatch, resume_step):
    package = mock.MagicMock(__spec__=mock.Mock())
    monkeypatch.setitem(sys.modules, name, package)
    writer = open_writers(_config(name), Workdir(folder), resume_step=resume_step)
    writer.write(4, "train", {"loss": 1.0})
    writer.close()
    package.init().finish.assert_called_once_with()
    return package


def test_other_services_get_the_same_numbers_and_go_on_with_the_run_that_is_continued(
    tmp_path, monkeypatch
):
    trackio = _open_mocked("trackio", tmp_path, monkeypatch, 0)
    trackio.init().log.assert_called_once_with({"train/loss": 1.0}, step=4)
    ids = []
    for resume_step in (0, 3, 0):
        wandb = _open_mocked("wandb", tmp_path, monkeypatch, resume_step)
        wandb.init().log.assert_any_call({"step": 4, "train/loss": 1.0})
        ids.append(wandb.init.call_args_list[0].kwargs["id"])
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_the_real_package_takes_it_offline(name, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip(name)
    (tmp_path / "run").mkdir()
    for resume_step in (0, 4):
        place = Workdir(tmp_path / "run")
        writer = open_writers(_config(name), place, resume_step=resume_step)
        writer.write(resume_step + 1, "train", {"loss": 1.0, "infinite": math.inf})
        writer.close()
    written = [path for path in tmp_path.rglob("*") if path.suffix in (".wandb", ".db")]
    assert len(written) >= 1
