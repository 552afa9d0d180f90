"""Kills a process that streams text, again and again, and compares what it read.

python -m benchmarks.input_kill --data 'corpus/*.txt' --tokenizer runs/tiny/tokenizer --kills 20

The reader appends to a file, made durable at each line, the digest of every batch with the position
behind it; started again it continues from the last whole line. It is killed (SIGKILL) at random
moments until it was killed `--kills` times, then reads on to the end. The digests must be those of
a reader that was never killed, and no worker may be left.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.data.kinds.text import StreamConfig
from mmrec_jax.data.stream.stream_dataset import StreamDataset
from mmrec_jax.tokenizers.cache import load_tokenizer


def main() -> None:
    """Compares the streams; the status is 1 if they differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="files, as of config.data.train")
    parser.add_argument("--tokenizer", required=True, help="a folder, such as runs/tiny/tokenizer")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--batches", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--shuffle-mb", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", help="internal: be the reader that writes this file")
    options = parser.parse_args()
    if options.log:
        read(options, Path(options.log))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = compare(options, Path(folder))
    print(json.dumps(result))
    raise SystemExit(0 if result["identical"] and not result["workers_left"] else 1)


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Reads undisturbed, then with kills: whether both read the same."""
    whole, killed = folder / "whole.jsonl", folder / "killed.jsonl"
    assert _reader(whole).wait() == 0
    choose = random.Random(options.seed)
    kills, workers, killed_at = 0, set[int](), []
    while True:
        process = _reader(killed)
        target = _size(killed) + choose.randrange(_size(whole) // max(1, options.kills))
        if kills == options.kills:
            assert process.wait() == 0
            break
        while _size(killed) <= target and process.poll() is None:
            time.sleep(choose.uniform(0, 0.01))
        if process.poll() is not None:
            raise SystemExit(f"the reader ended after {kills} kills: give it more --batches")
        workers |= _children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        killed_at.append(len(_lines(killed)))
    time.sleep(1)
    digests = [[line["batch"] for line in _lines(path)] for path in (whole, killed)]
    return {
        "identical": digests[0] == digests[1],
        "batches": len(digests[1]),
        "different_batches": len(set(digests[1])),
        "kills": kills,
        "killed_at": killed_at,
        "workers_seen": len(workers),
        "workers_left": sum(Path(f"/proc/{pid}").exists() for pid in workers),
    }


def read(options: argparse.Namespace, log: Path) -> None:
    """Continues the log to its end."""
    data = StreamConfig(
        train=options.data,
        stream_workers=options.workers,
        shuffle_mb=options.shuffle_mb,
    )
    config = Config(data=data, train=TrainConfig(steps=1))
    dataset = StreamDataset.open(config, "", load_tokenizer(Path(options.tokenizer)))
    batches = dataset.batches(8)
    done = _lines(log)
    log.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in done))
    if done:
        batches.set_state(done[-1]["state"])
    with log.open("ab") as stream:
        for _ in range(len(done), options.batches):
            batch = next(batches)
            digest = hashlib.sha256(b"".join(batch[name].tobytes() for name in sorted(batch)))
            line = {"batch": digest.hexdigest()[:16], "state": batches.get_state()}
            stream.write(json.dumps(line).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    batches.close()


def _reader(log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "benchmarks.input_kill", *sys.argv[1:], f"--log={log}"]
    return subprocess.Popen(command)


def _lines(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a log; the last may have been cut off."""
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_bytes().split(b"\n")[:-1]]


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _children(pid: int) -> set[int]:
    """The worker processes of a reader."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return set(map(int, path.read_text().split()))
    except OSError:
        return set()


if __name__ == "__main__":
    main()
