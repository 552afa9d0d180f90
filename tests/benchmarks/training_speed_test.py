"""The speed benchmark runs and reports; how fast anything is, no test asks."""

import dataclasses
import json
import sys

import jax.numpy as jnp
import pytest

from benchmarks import speed_cell, training_speed
from benchmarks.cell_process import run_process
from benchmarks.floor import training_bytes_per_token
from benchmarks.speed_table import to_markdown
from benchmarks.timing import time_steps
from mmrec_jax.errors import UserError
from mmrec_jax.models.attention.config import AttentionConfig
from tests.small_run import small_model

_ATTENTION = AttentionConfig(vocab_size=50, model_dim=16, num_layers=1, num_heads=2, ffn_dim=16)


def test_steps_are_warmed_up_and_then_timed():
    calls = []
    *_, last = time_steps(lambda: calls.append(0) or len(calls), seconds=0.0, least=2)
    assert len(last["warm_seconds"]) == 3
    assert len(last["step_seconds"]) == 2
    assert last["loss"] == len(calls) == 5
    assert last["peak_bytes"] > 2**20


@pytest.mark.parametrize(
    ("model", "config"),
    [
        ("mmrec", small_model(gate="none", memory="none")),
        ("jax", _ATTENTION),
        ("torch", _ATTENTION),
    ],
)
def test_a_cell_says_what_it_measured(model, config, monkeypatch, capsys):
    if model == "torch":
        pytest.importorskip("torch")
    cell = speed_cell.Cell(model, dataclasses.asdict(config), rows=8, length=8, seconds=0.0)
    monkeypatch.setattr(sys, "argv", ["speed_cell", json.dumps(dataclasses.asdict(cell))])
    speed_cell.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 1 + 3 + 2
    assert "step_seconds" not in lines[0]
    assert len(lines[-1]["step_seconds"]) == 2
    assert 0 < lines[-1]["loss"] < 10


def test_a_cell_past_its_limit_keeps_what_it_said():
    program = "import time; print('{\"a\": 1}', flush=True); time.sleep(60)"
    assert run_process([sys.executable, "-c", program], limit=1.0) == {
        "a": 1,
        "failed": "past 1 s",
    }


def test_a_cell_that_fails_says_why():
    result = run_process([sys.executable, "-c", "raise ValueError('no')"], limit=60.0)
    assert result == {"failed": "ValueError: no"}


def test_the_table_has_the_ratios():
    cell = {"size": "1m", "length": 256, "rows": 2, "parameters": 10, "failed": None}
    cell |= {"compile_seconds": 1.0, "warm_seconds": [9.0], "peak_bytes": 2**30, "others": 0.5}
    ours = cell | {"model": "mmrec", "step_seconds": [1.0, 2.0, 4.0]}
    theirs = cell | {"model": "jax", "step_seconds": [], "failed": "past 60 s"}
    text = to_markdown(
        {
            "models": {"mmrec": "MM-Rec", "torch": "torch", "jax": "JAX"},
            "cells": [ours, theirs],
            "rates": {"matmul_flops_per_second": 2e9, "copy_bytes_per_second": 1e9},
            "floors": {},
        }
    )
    speeds = "| 1m | 256 | 256 (128 to 512) | not installed | past 60 s (so far 57) | - | 4.50 |"
    assert speeds in text.splitlines()
    assert "| 1m | 256 | MM-Rec | 10 | 3 | 1.0 | 1.00 | 0.50 |" in text.splitlines()


def test_traffic_by_hand():
    params = {
        "embed": {"embedding": jnp.zeros((10, 4))},
        "blocks": {"out": {"kernel": jnp.zeros((3, 4, 6))}, "norm": {"scale": jnp.zeros((3, 4))}},
    }
    count = 10 * 4 + 3 * 4 * 6 + 3 * 4
    expected = 4 * (3 * (10 + 4) + 3 * 3 * (4 + 6) + 8 * count / 2)
    assert training_bytes_per_token(params, tokens=2) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "1"], "--lengths has 1"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--heads", "3"], "--heads is 3"),
        (["--output", "/no/such/folder/name"], "--output"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["training_speed", *arguments])
    with pytest.raises(UserError, match=message):
        training_speed._check(training_speed._options())


def test_a_python_without_torch_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["training_speed", "--torch-python", "/no/such/python"])
    with pytest.raises(UserError, match="/no/such/python"):
        training_speed._installed(training_speed._options())
