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
from benchmarks.cell_process import pythons
from mmrec_jax.errors import UserError
from tests.small_run import session_text

_PAIRS = ["--text", "TEXT", "--pairs", "TEXT"]


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (finetuning, [*_PAIRS, "--text", "/no/such/file"], "--text: there is no file"),
        (finetuning, [*_PAIRS, "--full-rates", "0"], "config.optim.lr is 0"),
        (mqar_table, ["--steps", "0"], "--steps is 0"),
        (optimizers, ["--picture", "no/such/picture.png"], "--picture: the folder no/such"),
        (peer_speed, ["--lengths", "300"], "--lengths has 300"),
        (quality, ["--data", "TEXT", "--parts", "wikitext"], "needs --wikitext"),
        (scan_backends, ["--lengths", "8", "0"], "--lengths has 0"),
        (scan_backends, ["--write-table=t.csv", "--dtype=bfloat16"], "--dtype is bfloat16"),
        (training_speed, ["--heads", "3"], "--heads is 3"),
    ],
)
def test_a_wrong_option_is_named(module, arguments, message, monkeypatch):
    text = str(session_text())
    arguments = [text if argument == "TEXT" else argument for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    with pytest.raises(UserError, match=message):
        module._check(module._options())


def test_models_in_jax_need_no_torch_and_a_python_without_it_is_named():
    expected = dict.fromkeys(("mmrec", "jax"), sys.executable)
    assert pythons(["mmrec", "jax"], "/no/such/python", "torch") == expected
    with pytest.raises(UserError, match="/no/such/python"):
        pythons(["mmrec", "qwen3"], "/no/such/python", "torch")
    assert pythons(["jax", "qwen3"], None, "no_such_module") == {"jax": sys.executable}
    with pytest.raises(UserError, match="cannot import no_such_module"):
        pythons(["qwen3"], sys.executable, "no_such_module")
