"""`mmrec data prepare` and `report` as a user types them, and killed."""

import signal
import subprocess
import sys
import time

import pytest

from mmrec_jax import cli
from mmrec_jax.data.byte_tokenizer import ByteTokenizer
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
    cli.main([*arguments, f"--out={killed}"])
    assert "prepared already" in capsys.readouterr().out
    monkeypatch.setenv("HOME", str(tmp_path))
    cli.main([*arguments, "--out=~/killed"])
    assert "prepared already" in capsys.readouterr().out
    cli.main(["data", "report", "~/killed", "--out=~/killed"])
    assert "| exact duplicate | 4 (2.67%) | 6 (4.00%) | 0 (0.00%) | 10 (0.67%) |" in (
        capsys.readouterr().out
    )
    assert (killed / "report_left_out.png").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--workers=-1", "--workers is -1; it must be at least 0"),
        ("--ram-mb=0", "--ram-mb is 0.0; it must be at least 1"),
        ("--shard-mb=0", "--shard-mb is 0.0; it must be above 0"),
        ("--validation-fraction=1", "--validation-fraction is 1.0; it must be in (0, 1)"),
        ("--max-record-mb=0", "--max-record-mb is 0; it must be above 0"),
        ("--min-chars=-1", "--min-chars is -1; it must be at least 0"),
        ("--tokenizer=no.json", "--tokenizer: no.json cannot be read: No such file"),
        ("--source=no.txt", "--source: there is no file no.txt"),
    ],
)
def test_a_wrong_option_is_named(arguments, tmp_path, capsys, option, message):
    with pytest.raises(SystemExit):
        cli.main([*arguments, f"--out={tmp_path / 'out'}", option])
    assert f"error: {message}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_folder_in_a_source_is_refused(arguments, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("bir")
    with pytest.raises(SystemExit):
        cli.main([*arguments, f"--source={tmp_path}", f"--out={tmp_path / 'out'}"])
    assert "lies in the folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_report_of_another_folder_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["data", "report", str(tmp_path)])
    assert "is not a folder that mmrec data prepare wrote" in capsys.readouterr().err
