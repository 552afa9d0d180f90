"""A run on a task, from the command to the files, in this process."""

import math

import numpy as np
import pytest

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.cli import main
from mmrec_jax.config_file import read_config
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.train import report
from mmrec_jax.train.loop import run
from mmrec_jax.train.setup import load_data
from tests.small_run import CONFIG_FILE, LINEAR, assert_same_run, flags, metrics

_TASK = {
    **LINEAR,
    "data__source": "parity",
    "data__seq_len": 16,
    "data__max_length": 8,
    "data__eval_lengths": "8,20",
    "data__eval_sequences": 10,
    "tokenizer__kind": "char",
    "train__devices": 1,
    "train__steps": 6,
    "train__eval_every": 3,
    "train__checkpoint_every": 2,
    "train__sample_tokens": 0,
    "optim__schedule": "constant",
}


def _config(**overrides):
    return read_config(str(CONFIG_FILE), flags(**{**_TASK, **overrides}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task") / "run"
    assert run(_config(), folder) == 0
    return folder


def test_each_evaluation_has_accuracies_at_each_length_and_no_bytes(finished):
    validation = metrics(finished, "validation")
    assert [line["step"] for line in validation] == [3, 6]
    recurrence = metrics(finished, "recurrence")
    assert [line["step"] for line in recurrence] == [3, 6]
    assert {"gamma_half_life", "state_variance", "state_rms"} <= recurrence[0].keys()
    for line in validation:
        scores = {f"{name}@{n}" for n in (8, 20) for name in ("loss", "accuracy", "token_accuracy")}
        assert line.keys() == {"step", "split", "loss", "tokens"} | scores
        assert line["tokens"] == 10 * (8 + 20)
        mean = (8 * line["loss@8"] + 20 * line["loss@20"]) / 28
        np.testing.assert_allclose(line["loss"], mean, rtol=1e-6)
        assert line["accuracy@8"] * 10 == pytest.approx(round(line["accuracy@8"] * 10))
    assert validation[0]["loss"] != validation[1]["loss"]
    assert abs(validation[1]["loss"] - math.log(2)) < 0.7


@pytest.mark.soak
def test_a_longer_run_is_the_same(finished, tmp_path):
    assert run(_config(train__steps=4), tmp_path) == 0
    assert run(_config(), tmp_path) == 0
    assert_same_run(_config(), finished, tmp_path)


def test_the_same_command_says_what_was_scored(finished, capsys):
    assert run(_config(), finished) == 0
    report.suggest(_config(), finished)
    out = capsys.readouterr().out
    last = metrics(finished, "validation")[-1]
    assert "data: parity, fresh examples of 1 to 8 tokens (4 in the vocabulary)" in out
    assert f"accuracy@20 {last['accuracy@20']:.4f}" in out
    assert f"mmrec eval length --workdir={finished}" in out
    for word in ("bits_per_byte", "perplexity", "mmrec generate"):
        assert word not in out


def test_inspect_shows_bits_and_answers(capsys):
    main(["data", "inspect", f"--config={CONFIG_FILE}", "--rows=1", *flags(**_TASK)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("row 0: 2 segments, ")
    bits = lines[1].split(": ")[1]
    if " → " not in bits:  # answers that happen to be the next bits
        assert lines[2].split(": ")[1].split("|")[-1] == str(bits.count("1") % 2)
    assert lines[-1].startswith("parity, fresh examples of 1 to 8 tokens")


def test_a_base_with_another_tokenizer_is_refused(tmp_path):
    with pytest.raises(UserError, match="runs/base"):
        load_data(_config(init_from="runs/base"), Workdir(tmp_path), ByteTokenizer())
