"""Which runs the recall benchmark does, and what it says of them."""

import argparse

import pytest

from benchmarks import comparison, mqar_table
from benchmarks.comparison import attention_shape, check
from benchmarks.mqar_table import MODELS, SHAPES, Recall, model_state_bytes
from benchmarks.run_log import RunLog
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.state import state_bytes, zero_state


@pytest.fixture
def options(tmp_path):
    return argparse.Namespace(
        mmrec_rates=[0.005], attention_rates=[0.001, 0.005], steps=9, seed=1, workdir=tmp_path
    )


def test_the_tables_and_the_runs_that_they_share(options, tmp_path, monkeypatch):
    calls = []

    def train(model, config, workdir):
        calls.append((model, config.model.memory, config.data.pairs, config.optim.lr))
        right = 0.5 if config.optim.lr == 0.001 else 0.25
        lost = config.model.memory == "none"
        return {
            "metrics": None if lost else {"loss": 1.0, "token_accuracy@128": right},
            "diverged_at": 3 if lost else None,
            "parameters": 1500,
            "seconds": 1.0,
        }

    monkeypatch.setattr(comparison, "train", train)
    lines = Recall(options, RunLog(tmp_path / "log.jsonl")).models()
    assert len(calls) == 2 * (3 + 2)
    share = "25.0% (lr 0.005)"
    assert f"| delta | 1,500 | 33,288 | {share} | {share} |" in lines
    lost = "diverged at step 3 (lr 0.005)"
    assert f"| none | 1,500 | 520 | {lost} | {lost} |" in lines
    assert "| attention | 1,500 | 131,072 | 50.0% (lr 0.001) | 50.0% (lr 0.001) |" in lines
    lines = Recall(options, RunLog(tmp_path / "log.jsonl")).shapes()
    assert len(calls) == 10 + len(SHAPES) - 1
    assert f"| 1 x 64 x 64 | 33,288 | 1,500 | {share} |" in lines


def test_every_run_is_possible(options, tmp_path):
    recall = Recall(options, RunLog(tmp_path / "log.jsonl"))
    for model in MODELS:
        assert recall._config(model, 32).data.pairs == 32
    attention = recall._config("attention", 32)
    check("attention", attention)
    attention_shape(attention.model)
    for shape in SHAPES:
        config = recall._config("delta", 32, shape)
        state = zero_state(config.model, 1)
        assert (state.m.shape[2:], state_bytes(state)) == (
            shape,
            model_state_bytes("delta", config),
        )


def test_a_wrong_option_is_one_line(options):
    options.steps = 0
    with pytest.raises(UserError, match="--steps is 0"):
        mqar_table._check(options)
