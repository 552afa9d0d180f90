"""`mmrec data prepare` and `report` as a user types them: killed, interrupted, mistyped."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mmrec_jax import cli
from mmrec_jax.tokenizers.byte import ByteTokenizer
from tests.refused import mistake
from tests.small_corpus import file_contents, write_corpus
from tests.small_run import ROOT, environment

_PROGRAM = [sys.executable, "-c", "from mmrec_jax.cli import main; main()"]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Three tasks of 8 MB, and some small files."""
    folder = tmp_path_factory.mktemp("prepare")
    ByteTokenizer().save(folder / "tokenizer")
    pattern = write_corpus(folder)
    big = folder / "big.txt"
    big.write_text("".join(f"{number} numaralı belge " * 500 + "\n\n" for number in range(1_500)))
    return ["data", "prepare", f"--source={pattern},{big}", f"--tokenizer={folder / 'tokenizer'}"]


def _written(folder):
    return {name: data for name, data in file_contents(folder).items() if name[:4] != "logs"}


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    """What is written where nothing disturbs it."""
    folder = tmp_path_factory.mktemp("whole")
    cli.main([*arguments, f"--out={folder / 'whole'}", "--workers=1"])
    return _written(folder / "whole")


def _started(arguments, out, done):
    """A preparation by two workers of which so many tasks are done."""
    process = subprocess.Popen(
        [*_PROGRAM, *arguments, f"--out={out}", "--workers=2"],
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    completions = out / "logs" / "encode" / "completions"
    while process.poll() is None:
        if completions.exists() and len(os.listdir(completions)) >= done:
            return process
        time.sleep(0.01)
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_ended_in_the_middle_it_leaves_nobody_and_continues(
    arguments, whole, tmp_path, capsys, how
):
    ended = tmp_path / "ended"
    process = _started(arguments, ended, 1)
    group = process.pid
    if how == signal.SIGINT:
        os.killpg(group, how)  # as a terminal does
    else:
        process.send_signal(how)
    told = process.communicate(timeout=60)[1]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:  # all workers are gone
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("a worker lives on")
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert told.splitlines()[-1] == "interrupted"
        assert "Traceback" not in told
    assert not (ended / "manifest.json").exists()
    done = {path: path.stat().st_mtime_ns for path in ended.glob("logs/encode/completions/*")}
    assert done
    cli.main([*arguments, f"--out={ended}", "--workers=1"])
    assert "1,800 documents read; left out: none" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == at for path, at in done.items())
    assert _written(ended) == whole


def test_done_it_is_not_done_again_and_reported(tmp_path, capsys, monkeypatch):
    ByteTokenizer().save(tmp_path / "tokenizer")
    options = [f"--source={write_corpus(tmp_path)}", f"--tokenizer={tmp_path / 'tokenizer'}"]
    command = ["data", "prepare", *options, "--workers=1", "--dedup=exact", "--language=any"]
    monkeypatch.setenv("HOME", str(tmp_path))
    cli.main([*command, "--out=~/out"])
    shown = capsys.readouterr()
    assert "--config.data.train=~/out" in shown.out
    assert "datatrove" not in shown.err
    assert "datatrove" in (tmp_path / "out" / "logs" / "prepare.log").read_text()
    cli.main([*command, f"--out={tmp_path / 'out'}"])
    assert "prepared already" in capsys.readouterr().out
    cli.main(["data", "report", "~/out"])
    assert "| duplicate | 10 | 3.33% |" in capsys.readouterr().out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"]["duplicate"] == 10
    assert sum(manifest["languages"].values()) == manifest["counts"]["read"] == 300


_WRONG = "workers=0 ram-mb=0 validation-fraction=1 max-record-mb=0 min-chars=-1 max-broken=2"


@pytest.mark.parametrize(
    "option", [*_WRONG.split(), "language=xx", "tokenizer=no.json", "source=no.txt", "source=."]
)
def test_a_wrong_option_is_named(arguments, tmp_path, capsys, option, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("bir")  # beside the output
    line = mistake(capsys, *arguments, f"--out={tmp_path / 'out'}", "--workers=1", f"--{option}")
    assert line.startswith("error: --")
    assert option.split("=")[0] in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package", ["datatrove", "py3langid", "ray"])
def test_a_package_that_is_missing_is_told_with_the_extra(
    arguments, tmp_path, capsys, package, monkeypatch
):
    names = [name for name in sys.modules if name.startswith(("mmrec_jax.data.prepare", package))]
    # A module that is imported anew stands in its package until the test ends.
    for name in (name for name in names if name.startswith("mmrec_jax")):
        parent, _, child = name.rpartition(".")
        monkeypatch.setattr(sys.modules[parent], child, sys.modules[name])
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    executor = ["--executor=ray"] if package == "ray" else []
    with pytest.raises(SystemExit):
        cli.main([*arguments, f"--out={tmp_path / 'out'}", "--ram-mb=100000", *executor])
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    extra = "ray" if package == "ray" else "prepare"
    assert f"pip install 'mmrec_jax[{extra}]'" in line
    assert package in line
