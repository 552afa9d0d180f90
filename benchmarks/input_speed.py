"""Tokens per second of input pipelines that do the same work on the same files.

    python -m benchmarks.input_speed --data 'corpus/*.jsonl' --tokenizer runs/tiny/tokenizer

Ours, `datasets` and plain grain (`input_pipelines.py`), in one process and with workers. Every
measurement is a process of its own, and they take turns, each round in the opposite order. Prints
Markdown. Needs the extras `huggingface` and `peers`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from benchmarks.input_pipelines import PIPELINES, Work
from benchmarks.markdown import header, row
from mmrec_jax.data.files.paths import find_files
from mmrec_jax.errors import exit_on_user_error

_WARM = 20  # batches before the clock starts


def main() -> int:
    """Measures by turns and prints Markdown, or one measurement; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="files of JSON lines, one a worker at least")
    parser.add_argument("--field", default="text")
    parser.add_argument("--tokenizer", required=True, help="a folder, such as runs/tiny/tokenizer")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--pipelines", nargs="+", choices=list(PIPELINES), default=list(PIPELINES))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with exit_on_user_error():
        if options.one:
            _measure(options, options.one[0], int(options.one[1]))
        else:
            print("\n".join(_table(_by_turns(options))))
    return 0


def _by_turns(options: argparse.Namespace) -> dict[tuple[str, int], list[float]]:
    """Rates by pipeline and number of workers, one of each round."""
    cells = [(name, workers) for workers in options.workers for name in options.pipelines]
    cells = [(name, workers) for name, workers in cells if name != "grain" or not workers]
    rates: dict[tuple[str, int], list[float]] = {cell: [] for cell in cells}
    for turn in range(options.rounds):
        for name, workers in cells if turn % 2 == 0 else cells[::-1]:
            command = [sys.executable, "-m", "benchmarks.input_speed", *sys.argv[1:]]
            command += ["--one", name, str(workers)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            rates[name, workers].append(float(done.stdout.splitlines()[-1]))
            print(name, workers, f"{rates[name, workers][-1]:,.0f} tokens/s", file=sys.stderr)
    return rates


def _table(rates: dict[tuple[str, int], list[float]]) -> list[str]:
    lines = header(["pipeline", "workers", "tokens/s", "to the fastest other"])
    middle = {cell: statistics.median(found) for cell, found in rates.items()}
    for (name, workers), rate in middle.items():
        others = [r for (each, n), r in middle.items() if each != name and n == workers]
        ratio = f"{rate / max(others):.2f}" if others else ""
        lines.append(row([name, str(workers), f"{rate:,.0f}", ratio]))
    return lines


def _measure(options: argparse.Namespace, name: str, workers: int) -> None:
    """Prints the tokens a second of one pipeline that runs."""
    files = [str(path) for path in find_files(options.data, "--data")]
    sizes = options.batch_size, options.seq_len
    batches = PIPELINES[name](Work(files, options.field, options.tokenizer, *sizes, workers))
    for _ in range(_WARM):
        next(batches)
    start, tokens = time.perf_counter(), 0
    while time.perf_counter() - start < options.seconds:
        tokens += int(next(batches)["inputs"].size)
    print(json.dumps(tokens / (time.perf_counter() - start)), flush=True)
    os._exit(0)  # not to wait for workers in the middle of their work


if __name__ == "__main__":
    raise SystemExit(main())
