"""Rate and memory of text that is streamed: what the input side alone can give.

python -m benchmarks.streaming --data 'corpus/*.txt' --tokenizer runs/tiny/tokenizer --minutes 10

Prints a line of JSON every five seconds, with the rate since the last one and the memory (PSS) of
all input processes and of this one, and at the end the peak and the slope of the input's memory
over the second half, by least squares.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.data.kinds.text import StreamConfig
from mmrec_jax.data.process_memory import process_memory
from mmrec_jax.data.stream.stream_dataset import StreamDataset
from mmrec_jax.errors import exit_on_user_error
from mmrec_jax.tokenizers.cache import load_tokenizer

_SECONDS = 5.0
_MB = 2**20


def main() -> None:
    """Streams for a time and says what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="files, as of config.data.train")
    parser.add_argument("--tokenizer", required=True, help="a folder, such as runs/tiny/tokenizer")
    parser.add_argument("--documents", default="block", choices=("block", "line", "file"))
    parser.add_argument("--field", default="text")
    parser.add_argument("--weights", default="")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--ram-mb", type=int, default=1500)
    parser.add_argument("--shuffle-mb", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--tokens-per-second", type=float, help="take no more, as training would")
    options = parser.parse_args()
    with exit_on_user_error():
        run(options)


def run(options: argparse.Namespace) -> None:
    """See `main`."""
    data = StreamConfig(
        train=options.data,
        documents=options.documents,
        field=options.field,
        weights=options.weights,
        stream_workers=options.workers,
        ram_mb=options.ram_mb,
        shuffle_mb=options.shuffle_mb,
        seq_len=options.seq_len,
    )
    config = Config(data=data, train=TrainConfig(steps=1))
    begin = time.perf_counter()
    dataset = StreamDataset.open(config, "", load_tokenizer(Path(options.tokenizer)))
    batches = dataset.batches(options.batch_size)
    next(batches)
    opened = time.perf_counter() - begin
    print(json.dumps({"data": dataset.describe(), "first_batch_seconds": round(opened, 2)}))
    seconds, memory, rates = [0.0], [_input_memory(batches.batches.worker_ids())], []
    tokens = taken = 0
    start = last = time.perf_counter()
    while last - start < 60 * options.minutes:
        taken += next(batches)["inputs"].size
        now = time.perf_counter()
        if options.tokens_per_second:
            time.sleep(max(0.0, start + (tokens + taken) / options.tokens_per_second - now))
        if now - last < _SECONDS:
            continue
        seconds.append(now - start)
        memory.append(_input_memory(batches.batches.worker_ids()))
        rates.append(taken / (now - last))
        tokens, taken, last = tokens + taken, 0, now
        line = {
            "seconds": round(seconds[-1], 1),
            "tokens_per_second": round(rates[-1]),
            "input_pss_mb": round(memory[-1] / _MB, 2),
            "own_pss_mb": round(process_memory(os.getpid()) / _MB, 1),
            **batches.metrics(),
        }
        print(json.dumps(line), flush=True)
    batches.close()
    print(json.dumps(summary(seconds, memory, tokens)))


def summary(seconds: list[float], memory: list[int], tokens: int) -> dict[str, float]:
    """Mean rate, and peak and slope (over the second half) of the memory in bytes."""
    half = [index for index, each in enumerate(seconds) if each >= seconds[-1] / 2]
    times, sizes = np.array(seconds)[half] / 60, np.array(memory)[half] / _MB
    slope = float(np.polyfit(times, sizes, 1)[0]) if len(half) > 1 else float("nan")
    return {
        "tokens": tokens,
        "mean_tokens_per_second": round(tokens / seconds[-1]),
        "peak_pss_mb": round(max(memory) / _MB, 1),
        "last_pss_mb": round(memory[-1] / _MB, 1),
        "slope_mb_per_minute": round(slope, 3),
    }


def _input_memory(workers: list[int]) -> int:
    return sum(process_memory(pid) for pid in workers or [os.getpid()])


if __name__ == "__main__":
    main()
