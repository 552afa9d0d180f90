"""The comparison of architectures runs and reports; how fast anything is, no test asks."""

import dataclasses
import json
import sys

import matplotlib.image
import pytest

from benchmarks import peer_speed, speed_cell
from benchmarks.peer_picture import draw
from benchmarks.peer_table import to_markdown
from mmrec_jax.errors import UserError
from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.models.mmrec.state import state_bytes, zero_state
from tests.small_run import small_model

_OURS = small_model(gate="none", memory="none")
_ATTENTION = AttentionConfig(vocab_size=50, model_dim=16, num_layers=1, num_heads=2, ffn_dim=16)
_MEASURED = {
    "rows": 1,
    "parameters": 10,
    "searched": None,
    "version": "jax 0",
    "compile_seconds": 1.0,
    "read_seconds": 2.0,
    "warm_seconds": [9.0],
    "peak_bytes": 2**30,
    "others": 0.5,
    "state_bytes": None,
    "failed": None,
}


def _report():
    """Two models, one of them stopped while it trained; the third is not installed."""
    training = _MEASURED | {"length": 256, "context": None, "step_seconds": [1.0, 2.0]}
    decoding = _MEASURED | {"length": 100, "context": 1024, "step_seconds": [0.5, 0.5]}
    stopped = {"model": "xlstm", "step_seconds": [], "failed": "past 60 s", "peak_bytes": None}
    return {
        "machine": "2 cores",
        "models": {"mmrec": "MM-Rec", "xlstm": "xLSTM", "qwen3": "Qwen3"},
        "lengths": [256],
        "contexts": [1024],
        "tokens": 256,
        "draws": 100,
        "cells": [
            training | {"model": "mmrec"},
            training | stopped,
            decoding | {"model": "mmrec", "state_bytes": 67_592},
            decoding | {"model": "xlstm", "state_bytes": 1_000, "searched": "ffn_dim 576"},
        ],
    }


def test_the_table_says_what_was_measured_and_what_was_not():
    lines = to_markdown(_report()).splitlines()
    assert "| MM-Rec | 10 | 171 (128 to 256) | 200 (200 to 200) |" in lines
    assert "| xLSTM | 10 | past 60 s (so far 28) | 200 (200 to 200) |" in lines
    assert "| Qwen3 | ? | not installed | not installed |" in lines
    assert "| MM-Rec | 1.00 | 67,592 |" in lines
    assert "| xLSTM | ? | 1,000 |" in lines
    assert "| T = 256 | xLSTM | - | 0 | 1.0 | 0.50 | jax 0 |" in lines
    assert "| after 1,024 | xLSTM | ffn_dim 576 | 2 | 2.0 | 0.50 | jax 0 |" in lines


def test_the_picture_has_three_panels_with_what_is_known(tmp_path):
    draw(_report(), tmp_path / "picture.png")
    picture = matplotlib.image.imread(tmp_path / "picture.png")
    height, width, _ = picture.shape
    assert width > 2 * height
    for panel in range(3):
        part = picture[:, panel * width // 4 : (panel + 1) * width // 4, :3]
        assert part.std() > 0.05


@pytest.mark.parametrize(("model", "config"), [("mmrec", _OURS), ("jax", _ATTENTION)])
def test_a_decoding_cell_says_what_it_measured(model, config, monkeypatch, capsys):
    cell = speed_cell.Cell(
        model, dataclasses.asdict(config), rows=1, length=3, seconds=0.0, warm_steps=1, context=5
    )
    monkeypatch.setattr(sys, "argv", ["speed_cell", json.dumps(dataclasses.asdict(cell))])
    speed_cell.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 1 + 1 + 2
    assert len(lines[-1]["step_seconds"]) == 2
    keys_and_values = 5 * 2 * 4 * _ATTENTION.num_layers * _ATTENTION.model_dim
    expected = state_bytes(zero_state(_OURS, 1)) if model == "mmrec" else keys_and_values
    assert lines[0]["state_bytes"] == expected


def _options(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["peer_speed", *arguments])
    return peer_speed._options()


def test_every_cell_is_run_and_a_failed_one_keeps_its_place(tmp_path, monkeypatch):
    seen = []

    def run(command, limit):
        cell = json.loads(command[-1])
        seen.append((cell["model"], cell["rows"], cell["length"], cell["context"]))
        done = {"step_seconds": [1.0, 1.0], "warm_seconds": [1.0], "failed": None}
        return {"failed": f"past {limit:g} s"} if cell["context"] else done

    monkeypatch.setattr(peer_speed, "run_process", run)
    options = _options(
        monkeypatch,
        *["--models", "mmrec", "jax", "xlstm", "--lengths", "64", "--contexts", "9"],
        *["--tokens", "128", "--draws", "5", "--output", str(tmp_path / "out")],
    )
    peer_speed._check(options)
    pythons = dict.fromkeys(("mmrec", "jax"), sys.executable)
    report = peer_speed._measure(options, pythons)
    models = ("mmrec", "jax")
    assert seen == [(m, 2, 64, None) for m in models] + [(m, 1, 5, 9) for m in models]
    assert json.loads((tmp_path / "out.json").read_text()) == report
    sizes = [cell["parameters"] for cell in report["cells"][:2]]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
    text = to_markdown(report)
    assert "| xLSTM | ? | not installed | not installed |" in text
    assert "128 (128 to 128) | past 60 s (no step done) |" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "300"], "--lengths has 300"),
        (["--contexts", "0"], "--contexts has 0"),
        (["--width", "96"], "--width is 96"),
        (["--draws", "0"], "--draws is 0"),
        (["--output", "/no/such/folder/name"], "--output"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, message, monkeypatch):
    with pytest.raises(UserError, match=message):
        peer_speed._check(_options(monkeypatch, *arguments))


def test_a_python_without_torch_is_refused_by_name(monkeypatch):
    with pytest.raises(UserError, match="/no/such/python"):
        peer_speed._installed(_options(monkeypatch, "--torch-python", "/no/such/python"))


def test_models_in_jax_need_no_torch(monkeypatch):
    options = _options(monkeypatch, "--models", "mmrec", "jax")
    assert peer_speed._installed(options) == dict.fromkeys(("mmrec", "jax"), sys.executable)
