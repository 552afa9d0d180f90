"""`mmrec data prepare` and `report` as a user types them, and killed."""

import json
import signal
import subprocess
import sys
import time

import pytest

from mmrec_jax import cli
from mmrec_jax.tokenizers.byte import ByteTokenizer
from tests.small_corpus import write_corpus
from tests.small_run import ROOT, environment

_PROGRAM = [sys.executable, "-c", "from mmrec_jax.cli import main; main()"]


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepare")
    ByteTokenizer().save(folder / "tokenizer")
    pattern = write_corpus(folder)
    big = folder / "big.txt"
    big.write_text("".join(f"{number} numaralı belge " * 50 + "\n\n" for number in range(1_200)))
    return [
        "data",
        "prepare",
        f"--source={pattern},{big}",
        f"--tokenizer={folder / 'tokenizer'}",
        "--shard-mb=0.6",
        "--dedup=exact",
    ]


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_killed_it_continues_and_the_bytes_are_the_same(arguments, tmp_path, monkeypatch, capsys):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    cli.main([*arguments, f"--out={whole}", "--workers=0"])
    out = capsys.readouterr().out
    assert "1,500 documents read; left out: 10 exact_duplicate" in out
    assert f"--config.data.train={whole}" in out
    process = subprocess.Popen(
        [*_PROGRAM, *arguments, f"--out={killed}", "--workers=1"],
        env=environment(),
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    while not (killed / "train-00000.tokens").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "manifest.json").exists()
    cli.main([*arguments, f"--out={killed}", "--workers=0"])
    assert _contents(killed) == _contents(whole)
    capsys.readouterr()
    monkeypatch.setenv("HOME", str(tmp_path))
    for out in (killed, "~/killed"):  # done already
        cli.main([*arguments, f"--out={out}"])
        assert "prepared already" in capsys.readouterr().out
    cli.main(["data", "report", "~/killed", "--out=~/killed"])
    assert "| exact duplicate | 4 (2.67%) | 6 (4.00%) | 0 (0.00%) | 10 (0.67%) |" in (
        capsys.readouterr().out
    )
    assert len(list(killed.glob("report_*.png"))) == 3
    assert json.loads((killed / "report.json").read_text())
    # Its own report is no reason to take the folder for another's.
    cli.main([*arguments, "--out=~/killed", "--fresh", "--workers=0"])


_WRONG = "workers=-1 ram-mb=0 shard-mb=0 validation-fraction=1 max-record-mb=0 min-chars=-1"


@pytest.mark.parametrize(
    "option", [*_WRONG.split(), "tokenizer=no.json", "source=no.txt", "source=."]
)
def test_a_wrong_option_is_named(arguments, tmp_path, capsys, option, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("bir")  # beside the output
    with pytest.raises(SystemExit):
        cli.main([*arguments, f"--out={tmp_path / 'out'}", f"--{option}"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --")
    assert option.split("=")[0] in line
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        cli.main(["data", "report", str(tmp_path)])
    assert str(tmp_path) in capsys.readouterr().err
