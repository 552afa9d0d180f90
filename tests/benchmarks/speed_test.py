"""The benchmarks of speed run and say what they measured; how fast anything is, no test asks."""

import argparse
import dataclasses
import json
import sys

import jax.numpy as jnp
import pytest

from benchmarks import (
    accelerator,
    cell_process,
    linear_cost,
    optimizer_cost,
    peer_speed,
    speed_cell,
)
from benchmarks.cell_process import pythons, run_process
from benchmarks.floor import training_bytes_per_token
from benchmarks.timing import time_steps
from mmrec_jax.errors import UserError
from mmrec_jax.models.attention.config import AttentionConfig
from mmrec_jax.tree import num_bytes
from tests.small_run import small_model

_OURS = small_model(gate="none", memory="none")
_ATTENTION = AttentionConfig(vocab_size=50, model_dim=16, num_layers=1, num_heads=2, ffn_dim=16)
_STATE = num_bytes(_OURS.build().initial_state(1))


def test_steps_are_warmed_up_and_then_timed():
    calls = []
    *_, last = time_steps(lambda: calls.append(0) or len(calls), seconds=0.0, least=2)
    assert (len(last["warm_seconds"]), len(last["step_seconds"])) == (3, 2)
    assert last["loss"] == len(calls) == 5
    assert last["peak_bytes"] > 2**20


@pytest.mark.parametrize(
    ("model", "config", "context", "state_bytes"),
    [
        ("jax", _ATTENTION, None, None),
        ("torch", _ATTENTION, None, None),
        ("mmrec", _OURS, 5, _STATE),
    ],
)
def test_a_cell_says_what_it_measured(model, config, context, state_bytes, monkeypatch, capsys):
    if model == "torch":
        pytest.importorskip("torch")
    fields = dataclasses.asdict(config)
    cell = speed_cell.Cell(
        model, fields, rows=8, length=8, seconds=0.0, warm_steps=1, context=context
    )
    monkeypatch.setattr(sys, "argv", ["speed_cell", json.dumps(dataclasses.asdict(cell))])
    speed_cell.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 1 + 1 + 2
    assert "step_seconds" not in lines[0]
    assert len(lines[-1]["step_seconds"]) == 2
    if context is None:
        assert 0 < lines[-1]["loss"] < 10
    assert lines[0].get("state_bytes") == state_bytes


def test_a_process_that_does_not_end_well_keeps_what_it_said():
    slow = "import time; print('{\"a\": 1}', flush=True); time.sleep(60)"
    assert run_process([sys.executable, "-c", slow], 1.0) == {"a": 1, "failed": "past 1 s"}
    broken = [sys.executable, "-c", "raise ValueError('no')"]
    assert run_process(broken, 60.0) == {"failed": "ValueError: no"}


def test_every_cell_is_run_and_a_failed_one_stays_in_the_report(tmp_path, monkeypatch):
    seen = []

    def run(command, limit):
        cell = json.loads(command[-1])
        seen.append((cell["model"], cell["rows"], cell["length"], cell["context"]))
        done = {"step_seconds": [1.0, 1.0], "warm_seconds": [1.0], "failed": None}
        return {"failed": f"past {limit:g} s"} if cell["context"] else done

    monkeypatch.setattr(cell_process, "run_process", run)
    arguments = ["--models", "mmrec", "jax", "xlstm", "--lengths", "64", "--contexts", "9"]
    arguments += ["--tokens", "128", "--draws", "5", "--output", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["peer_speed", *arguments])
    models = ("mmrec", "jax")
    report = peer_speed._measure(peer_speed._options(), dict.fromkeys(models, sys.executable))
    assert seen == [(m, 2, 64, None) for m in models] + [(m, 1, 5, 9) for m in models]
    assert json.loads((tmp_path / "out.json").read_text()) == report
    assert [cell["failed"] for cell in report["cells"]] == [None] * 2 + ["past 60 s"] * 2
    sizes = [cell["parameters"] for cell in report["cells"][:2]]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)


def test_traffic_by_hand():
    params = {
        "embed": {"embedding": jnp.zeros((10, 4))},
        "blocks": {"out": {"kernel": jnp.zeros((3, 4, 6))}, "norm": {"scale": jnp.zeros((3, 4))}},
    }
    numbers = 10 * 4 + 3 * 4 * 6 + 3 * 4
    expected = 4 * (3 * (10 + 4) + 3 * 3 * (4 + 6) + 8 * numbers / 2)
    assert training_bytes_per_token(params, tokens=2) == expected


def test_the_cost_of_a_step_is_that_of_plain_and_refreshing_steps_together():
    labels = dict.fromkeys(label for steps in optimizer_cost.STEPS.values() for label in steps)
    seconds = dict(zip(labels, (2.0, 2.1, 3.1, 5.1, 1.9, 3.0), strict=True))
    steps = {
        label: argparse.Namespace(processor=[9.0, 9.0, *[x] * 5]) for label, x in seconds.items()
    }
    expected = {"adamw": 1, "sophia_g": 1.1, "sophia_h": 1.2, "lion": 0.95, "muon": 1.5}
    assert optimizer_cost._cost(steps, every=10) == pytest.approx(expected)
    assert linear_cost._off_the_line([1, 2, 3], [5.0, 7.0, 9.0]) == pytest.approx([0, 0, 0])


def test_models_in_jax_need_no_torch_and_a_python_without_it_is_named():
    expected = dict.fromkeys(("mmrec", "jax"), sys.executable)
    assert pythons(["mmrec", "jax"], "/no/such/python", "torch") == expected
    with pytest.raises(UserError, match="/no/such/python"):
        pythons(["mmrec", "qwen3"], "/no/such/python", "torch")
    assert pythons(["jax", "qwen3"], None, "no_such_module") == {"jax": sys.executable}
    with pytest.raises(UserError, match="cannot import no_such_module"):
        pythons(["qwen3"], sys.executable, "no_such_module")


def test_the_accelerator_s_table_is_made_on_a_cpu(tmp_path, monkeypatch, capsys):
    """Kernels interpreted; torch, where it is here, in a process of its own."""
    output = tmp_path / "found"
    small = dataclasses.replace(accelerator._SMALL, gate="none")
    monkeypatch.setattr(accelerator, "_SMALL", small)
    monkeypatch.setattr(sys, "argv", ["accelerator", "--small", f"--output={output}"])
    accelerator.main()
    report = json.loads(output.with_suffix(".json").read_text("utf-8"))
    assert not [x for rows in report.values() for x in rows if "failed" in x]
    assert all(x["gradients"] < 1e-4 for x in report["exactness"])
    assert report["training"][0]["model"] == "kernel"
    assert [x["rows"] for x in report["decoding"]] == [1, 64]
    assert output.with_suffix(".md").read_text("utf-8") in capsys.readouterr().out
