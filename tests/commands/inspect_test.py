import json
import shutil

import numpy as np
import pytest

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.cli import main
from mmrec_jax.models.mmrec.dashboard.summary import scalars
from mmrec_jax.train.writer import read_metrics
from tests.small_run import session_text, trained


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A copy of the small run: the command writes into its folder."""
    folder = tmp_path_factory.mktemp("inspect") / "run"
    shutil.copytree(trained(), folder)
    return folder


def test_the_numbers_are_those_logged_in_training(finished, capsys):
    main(["inspect", f"--workdir={finished}", "--step=last", "--tokens=32"])
    picture, numbers = (finished / "inspect" / f"step_40.{kind}" for kind in ("png", "json"))
    assert picture.read_bytes().startswith(b"\x89PNG")
    summary = json.loads(numbers.read_text("utf-8"))
    assert (summary["step"], summary["rows"], summary["length"]) == (40, 2, 32)
    (logged,) = (
        line
        for line in read_metrics(finished / "metrics.jsonl")
        if (line["step"], line["split"]) == (40, "recurrence")
    )
    found = scalars(summary)
    assert logged.keys() == {"step", "split"} | found.keys()
    assert {"gamma_half_life", "gate_saturation", "effective_rank", "uboo_skill"} <= found.keys()
    for name, value in found.items():  # training steps through time, the command solves by Newton
        np.testing.assert_allclose(value, logged[name], rtol=1e-3, err_msg=name)
    out = capsys.readouterr().out.splitlines()
    source = "the run's validation split (text)"
    assert out[0] == f"step 40, {source}: {summary['tokens']} tokens in 2 rows of up to 32"
    assert out[1].split()[:3] == ["layer", "gamma", "half-life"]
    assert [line.split()[0] for line in out[2:4]] == ["0", "1"]
    assert out[4:] == [str(picture), str(numbers)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--workdir=nowhere"], "nowhere: there is no run here"),
        (["--workdir=nowhere", "--tokens=0"], "--tokens is 0; it must be at least 1"),
        (["--workdir=nowhere", "--rows=0"], "--rows is 0; it must be at least 1"),
        (["--workdir=RUN", "--step=7"], "there is no checkpoint 7"),
        (["--workdir=RUN", "--data=missing.txt"], "no file missing.txt"),
    ],
)
def test_a_mistake_is_one_line(finished, arguments, expected, capsys):
    arguments = [argument.replace("RUN", str(finished)) for argument in arguments]
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", *arguments])
    assert exit_.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert expected in said.err
    assert said.err.count("\n") == 1
    assert not said.out


def test_a_folder_that_cannot_be_made_is_one_line(finished, monkeypatch, capsys):
    (finished / "way").write_text("in the way")
    monkeypatch.setattr(Workdir, "inspect", finished / "way" / "inspect")
    with pytest.raises(SystemExit):
        main(["inspect", f"--workdir={finished}", f"--data={session_text()}", "--tokens=32"])
    assert "way/inspect: Not a directory" in capsys.readouterr().err
