"""A wrong option of a benchmark is one line that names it, before anything is measured."""

import sys

import pytest

from benchmarks import (
    finetuning,
    mqar_table,
    optimizers,
    peer_speed,
    quality,
    scan_backends,
    training_speed,
)
from mmrec_jax.errors import UserError
from tests.small_run import session_text

_PAIRS = ["--text", "TEXT", "--pairs", "TEXT"]


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (finetuning, [*_PAIRS, "--text", "/no/such/file"], "--text: there is no file"),
        (finetuning, [*_PAIRS, "--rank", "1"], "--rank is 1"),
        (finetuning, [*_PAIRS, "--full-rates", "0"], "config.optim.lr is 0"),
        (mqar_table, ["--steps", "0"], "--steps is 0"),
        (optimizers, ["--jobs", "0"], "--jobs is 0"),
        (optimizers, ["--picture", "no/such/picture.png"], "--picture: the folder no/such"),
        (peer_speed, ["--lengths", "300"], "--lengths has 300"),
        (peer_speed, ["--contexts", "0"], "--contexts has 0"),
        (peer_speed, ["--width", "96"], "--width is 96"),
        (peer_speed, ["--output", "/no/such/folder/name"], "--output"),
        (quality, ["--data", "TEXT", "--parts", "wikitext"], "needs --wikitext"),
        (quality, ["--data", "TEXT", "--mmrec-rates", "0"], "config.optim.lr is 0"),
        (scan_backends, ["--width=0"], "--width has 0"),
        (scan_backends, ["--lengths", "8", "0"], "--lengths has 0"),
        (scan_backends, ["--write-table=no/such/table.csv"], "no/such/table.csv"),
        (scan_backends, ["--write-table=t.csv", "--dtype=bfloat16"], "--dtype is bfloat16"),
        (training_speed, ["--lengths", "1"], "--lengths has 1"),
        (training_speed, ["--heads", "3"], "--heads is 3"),
    ],
)
def test_a_wrong_option_is_named(module, arguments, message, monkeypatch):
    text = str(session_text())
    arguments = [text if argument == "TEXT" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    with pytest.raises(UserError, match=message):
        module._check(module._options())


@pytest.mark.parametrize("module", [peer_speed, training_speed])
def test_models_in_jax_need_no_torch_and_a_python_without_it_is_named(module, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark", "--models", "mmrec", "jax"])
    expected = dict.fromkeys(("mmrec", "jax"), sys.executable)
    assert module._installed(module._options()) == expected
    monkeypatch.setattr(sys, "argv", ["benchmark", "--torch-python", "/no/such/python"])
    with pytest.raises(UserError, match="/no/such/python"):
        module._installed(module._options())
