import json

import numpy as np
import pytest

from mmrec_jax.cli import main
from mmrec_jax.train.writer import read_metrics
from tests.small_run import trained


def test_the_numbers_are_those_logged_in_training(tmp_path, capsys):
    main(["inspect", f"--workdir={trained()}", "--step=last", "--tokens=32", f"--out={tmp_path}"])
    summary = json.loads((tmp_path / "step_40.json").read_text("utf-8"))
    assert (summary["step"], summary["rows"], summary["length"]) == (40, 2, 32)
    (logged,) = (
        line
        for line in read_metrics(trained() / "metrics.jsonl")
        if (line["step"], line["split"]) == (40, "recurrence")
    )
    layers = summary["layers"]
    found = {
        "gamma_half_life": np.median([layer["gamma_half_life"] for layer in layers]),
        "gate_saturation": np.mean([layer["gate_low"] + layer["gate_high"] for layer in layers]),
        "effective_rank": np.mean([layer["effective_rank"] for layer in layers]),
        "state_variance": np.mean([layer["state_variance"] for layer in layers]),
    }
    for name, value in found.items():  # training steps through time, the command solves by Newton
        np.testing.assert_allclose(value, logged[name], rtol=1e-3, err_msg=name)
    assert str(summary["tokens"]) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--workdir=nowhere"], "nowhere"),
        (["--workdir=nowhere", "--tokens=0"], "--tokens"),
        (["--workdir=nowhere", "--rows=0"], "--rows"),
        (["--workdir=RUN", "--step=7"], "7"),
        (["--workdir=RUN", "--data=missing.txt"], "missing.txt"),
    ],
)
def test_a_mistake_is_one_line(arguments, named, capsys):
    arguments = [argument.replace("RUN", str(trained())) for argument in arguments]
    with pytest.raises(SystemExit) as exit_:
        main(["inspect", *arguments])
    assert exit_.value.code == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert named in said.err
    assert said.err.count("\n") == 1
    assert not said.out
