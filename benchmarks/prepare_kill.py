r"""Kills `mmrec data prepare` at random times and compares what it writes in the end.

    python -m benchmarks.prepare_kill --kills 20 --seed 0 -- \
        --source 'corpus/*.txt' --tokenizer runs/tiny/tokenizer --shard-mb 1 --dedup minhash

The command is run once without interruption, which takes T seconds. Then it is started, killed
(SIGKILL) after a time drawn from 0 to T, and started again in the same folder, until it has been
killed so often; where it completes in between, its files are compared and it begins anew. In the
end it is let complete, and compared. Then no worker may be left over.
"""

import argparse
import hashlib
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
        kills = completed = 0
        equal = True
        while kills < arguments.kills:
            if _killed(_start(killed, arguments.options), draw.uniform(0, seconds)):
                kills += 1
                print(f"kill {kills}: {_state(killed)}", flush=True)
            else:
                completed += 1
                equal &= digests(killed) == expected
                shutil.rmtree(killed)
        if _start(killed, arguments.options).wait():
            raise SystemExit("the preparation did not continue")
        equal &= digests(killed) == expected
        left = _left_over()
    print(
        f"{kills} kills, completed {completed + 1} times: "
        f"files {'equal' if equal else 'DIFFER'}, {left} workers left over"
    )
    raise SystemExit(0 if equal and not left else 1)


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of each file in a folder, at any depth."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def _start(out: Path, options: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*_PROGRAM, *options, f"--out={out}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
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
    if not folder.exists():
        return "nothing written yet"
    shards = len(list(folder.glob("train-*.tokens")))
    part = ", one begun" if list(folder.glob("*.part")) else ""
    done = ", manifest written" if (folder / "manifest.json").exists() else ""
    return f"{shards} shards{part}{done}"


def _left_over() -> int:
    """How many workers of preparations live on, after some patience."""
    deadline = time.monotonic() + _LINGER
    while time.monotonic() < deadline:
        left = sum(_is_orphan(path) for path in Path("/proc").glob("[0-9]*"))
        if not left:
            return 0
        time.sleep(0.1)
    return left


def _is_orphan(process: Path) -> bool:
    """Whether a process is a worker whose parent has ended."""
    try:
        command = (process / "cmdline").read_bytes()
        parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
    except OSError:
        return False
    return b"mmrec_jax.data.prepared.worker" in command and parent == "1"


if __name__ == "__main__":
    main()
