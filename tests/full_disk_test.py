"""A disk that really fills up while a run saves: a small file system in memory of its own."""

import shutil
import subprocess

import pytest

from tests.small_run import LINEAR, command, execute, flags, metrics, session_directory

_RUN = {
    **LINEAR,
    "optim__schedule": "constant",
    "optim__warmup_steps": 1,
    "train__sample_tokens": 0,
    "train__dashboard": False,
    "train__eval_every": 100,
}


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


_SCRIPT = """
mount -t tmpfs -o size=64m none {disk} || exit 90
{first} >&2 || exit 91
used=$(du -sk {disk} | cut -f1)
mount -o remount,size=$((used + 24))k {disk} || exit 92
{second} >{log}/out 2>{log}/err
echo "full: $?"
ls {disk}/run/checkpoints | grep -v tmp | tr '\\n' ' '
echo
mount -o remount,size=64m {disk} || exit 93
{second} >{log}/again 2>&1
echo "space again: $?"
ls {disk}/run/checkpoints | grep -v tmp | tr '\\n' ' '
cp -r {disk}/run {log}/run
"""


@pytest.mark.soak  # `checkpoints/checkpointer_test.py` has a disk that is full in each test run
@pytest.mark.skipif(not _can_mount(), reason="this system does not let tests mount a file system")
def test_training_stops_with_the_last_checkpoint_intact_and_goes_on_when_there_is_space(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()

    def line(steps):
        options = flags(**_RUN, train__steps=steps)
        return " ".join(command(disk / "run", *options)).replace("'", "")

    script = _SCRIPT.format(disk=disk, log=tmp_path, first=line(4), second=line(12))
    result = execute(["unshare", "-rm", "sh", "-c", script])
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:2] == ["full: 2", "4 "], result.stdout
    errors = [x for x in (tmp_path / "err").read_text().splitlines() if x.startswith("error: ")]
    assert len(errors) == 1
    assert "No space left" in errors[0] or "ENOSPC" in errors[0]
    assert "intact" in errors[0]
    assert result.stdout.split("\n")[2:4] == ["space again: 0", "12 "], result.stdout
    assert "continuing from the checkpoint of step 4" in (tmp_path / "again").read_text()

    whole = session_directory() / "undisturbed"
    straight = execute(command(whole, *flags(**_RUN, train__steps=12)))
    assert straight.returncode == 0, straight.stderr
    assert metrics(whole, "train") == metrics(tmp_path / "run", "train")
