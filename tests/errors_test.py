import io
import subprocess
import sys

import jax
import pytest

from mmrec_jax.errors import (
    UserError,
    exit_on_user_error,
    explain_out_of_memory,
    replace_unencodable_output,
)
from mmrec_jax.train import compiled_steps, loop
from tests.small_run import LINEAR, command, environment, flags, linear_config, session_text

_FULL = "RESOURCE_EXHAUSTED: Out of memory allocating 4096 bytes.\nBuffer assignment: ..."


@pytest.mark.parametrize(
    ("raised", "status", "line"),
    [
        (UserError("field: why"), 2, "error: field: why\n"),
        (
            UserError("a.parquet:  a library said: \n why.\n"),
            2,
            "error: a.parquet:  a library said: why.\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_a_user_causes_is_one_line_and_a_status(raised, status, line, capsys):
    with pytest.raises(SystemExit) as caught, exit_on_user_error():
        raise raised
    assert caught.value.code == status
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    "raised", [ZeroDivisionError(), RuntimeError(_FULL), jax.errors.JaxRuntimeError("INTERNAL: x")]
)
def test_a_bug_keeps_its_traceback(raised):
    with pytest.raises(type(raised)), exit_on_user_error():
        raise raised


@pytest.mark.parametrize("raised", [MemoryError(), jax.errors.JaxRuntimeError(_FULL)])
def test_memory_that_runs_out_is_one_line(raised, capsys):
    with pytest.raises(SystemExit) as caught, exit_on_user_error():
        raise raised
    assert caught.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(UserError, match="buy more"), explain_out_of_memory("buy more"):
        raise raised


_REMEDIES = (
    "train.batch_size (8)",
    "train.accumulate (1)",
    "model.remat (none)",
    "model.time_chunk",
    "mesh",
)


def test_a_step_that_runs_out_of_memory_names_the_fields(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise jax.errors.JaxRuntimeError(_FULL)

    monkeypatch.setattr(compiled_steps, "lower_step", fail)
    config = linear_config(session_text(), train__steps=2)
    with pytest.raises(UserError) as caught:
        loop.run(config, tmp_path / "run")
    assert all(name in str(caught.value) for name in _REMEDIES)


_LIMITED = """
import resource, sys, runpy
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv.pop(1)),) * 2)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_what_jax_says_when_memory_runs_out_is_known():
    with pytest.raises(UserError, match="out of memory"), explain_out_of_memory("buy more"):
        jax.jit(lambda: jax.numpy.ones((2**25, 2**25)))().block_until_ready()


@pytest.mark.soak
def test_a_process_that_really_runs_out_of_memory_says_so_in_one_line(tmp_path):
    # Matrices of 16 GiB.
    options = flags(**LINEAR, model__model_dim=2**16, train__devices=1)
    program = command(tmp_path / "run", *options)[1:]
    result = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(12 * 2**30), *program],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    *_, line = result.stderr.splitlines()
    assert "Traceback" not in result.stderr
    assert line.startswith("error: out of memory")
    assert "train.batch_size (8)" in line


def test_a_run_trains_and_shows_its_samples_in_ascii(tmp_path, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "stderr", object())  # without an encoding: left alone
    replace_unencodable_output()
    options = {"train__steps": 1, "train__eval_every": 1, "train__sample_prompt": "göl"}
    config = linear_config(session_text(), **options)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert loop.run(config, tmp_path) == 0
    terminal.flush()
    assert b"writes: g?l" in terminal.buffer.getvalue()
    assert "göl" in (tmp_path / "samples" / "step_0000001.txt").read_text("utf-8")
