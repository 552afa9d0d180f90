r"""Kills `mmrec data prepare` at random times and compares what it writes in the end.

    python -m benchmarks.prepare_kill --kills 20 --seed 0 -- \
        --source 'corpus/*.txt' --tokenizer runs/tiny/tokenizer --dedup minhash

The command is run once without interruption, which takes T seconds. Then it is started, killed
(SIGKILL) after a time drawn from 0 to T, and started again in the same folder, until it has been
killed so often; where it completes in between, its files are compared and it begins anew. In the
end it is let complete, and compared. No worker may live on after a kill.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_PROGRAM = (sys.executable, "-c", "from mmrec_jax.cli import main; main()", "data", "prepare")
_LINGER = 5.0  # seconds until a worker has ended whose parent was killed


def main() -> None:
    """Runs it all; exit status 1 where a byte differs or a worker is left over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("options", nargs="+", help="of mmrec data prepare, behind --")
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        whole, killed = Path(scratch, "whole"), Path(scratch, "killed")
        begun = time.monotonic()
        if _start(whole, arguments.options).wait():
            raise SystemExit("the uninterrupted preparation failed")
        seconds = time.monotonic() - begun
        expected = digests(whole)
        print(f"uninterrupted: {seconds:.1f} s, {len(expected)} files", flush=True)
        kills = completed = left = 0
        equal = True
        while kills < arguments.kills:
            process = _start(killed, arguments.options)
            if _killed(process, draw.uniform(0, seconds)):
                kills += 1
                left += _lives(process.pid)
                print(f"kill {kills}: {_state(killed)}", flush=True)
            else:
                completed += 1
                equal &= digests(killed) == expected
                shutil.rmtree(killed)
        if _start(killed, arguments.options).wait():
            raise SystemExit("the preparation did not continue")
        equal &= digests(killed) == expected
    print(
        f"{kills} kills, completed {completed + 1} times: "
        f"files {'equal' if equal else 'DIFFER'}, workers left over after {left} of the kills"
    )
    raise SystemExit(0 if equal and not left else 1)


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of each file in a folder, at any depth, but not of the logs."""
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {
        str(path): hashlib.sha256((folder / path).read_bytes()).hexdigest()
        for path in files
        if path.parts[0] != "logs"
    }


def _start(out: Path, options: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*_PROGRAM, *options, f"--out={out}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _killed(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kills a process after a while; False: it was done before."""
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        status = process.wait()
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"the preparation ended with status {status}")
    return status != 0


def _state(folder: Path) -> str:
    done = len(list(folder.glob("logs/*/completions/*")))
    written = ", manifest written" if (folder / "manifest.json").exists() else ""
    return f"{done} tasks done{written}"


def _lives(group: int) -> bool:
    """Whether a process of a group lives on, after some patience."""
    deadline = time.monotonic() + _LINGER
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


if __name__ == "__main__":
    main()
