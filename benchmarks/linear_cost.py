"""Whether cost grows linearly with the length: time and peak memory of one row, short to long.

    python -m benchmarks.linear_cost --out benchmarks/logs/linear_cost.json
    python -m benchmarks.linear_cost --objectives [NAME ...] [--lengths 1024 8192]

Training is one update on one row, gradients through all of it; evaluation reads the row 1,024
tokens at a time and carries the state, as `mmrec eval loss` does. Every cell is a process of its
own, so that its peak memory is its own. Each series is compared with the line a + b T that fits
it best in relative terms.

With --objectives: one update on two rows with each objective beside the cross-entropy, the memory
of its temporaries by the compiler's account, and its processor time.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from numpy.typing import NDArray

from benchmarks.markdown import header, row
from benchmarks.workload import plain_objectives, random_batch
from mmrec_jax.config import OptimConfig
from mmrec_jax.memory import peak_memory
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import ObjectiveConfig
from mmrec_jax.objectives.long_range import LongRangeConfig
from mmrec_jax.objectives.memory_consistency import MemoryConsistencyConfig
from mmrec_jax.objectives.sequence import SequenceConfig
from mmrec_jax.objectives.uboo import UBOOConfig
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_eval_step, make_train_step

_LENGTHS = {
    "train": [1_024, 4_096, 16_384, 32_768],
    "evaluate": [1_024, 4_096, 8_192, 16_384, 65_536, 131_072],
}
_ROW = 1_024
_OBJECTIVES: dict[str, ObjectiveConfig | None] = {
    "cross_entropy": None,
    "sequence": SequenceConfig(),
    "long_range": LongRangeConfig(),
    "uboo": UBOOConfig(),
    "memory_consistency": MemoryConsistencyConfig(),
}
_REPEATS = 3


def main() -> None:
    """Runs every cell and prints one Markdown table a mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", nargs=2, metavar=("MODE", "LENGTH"), help="measure one cell only")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON too")
    parser.add_argument("--objectives", nargs="*", choices=_OBJECTIVES, metavar="NAME")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1_024, 8_192, 32_768])
    options = parser.parse_args()
    if options.objectives is not None:
        _print_objectives(options.objectives or list(_OBJECTIVES), options.lengths)
        return
    if options.cell:
        print(json.dumps(_cell(options.cell[0], int(options.cell[1]))))
        return
    results = {}
    for mode, lengths in _LENGTHS.items():
        cells = [_in_a_process(mode, length) for length in lengths]
        results[mode] = dict(zip(map(str, lengths), cells, strict=True))
        print(_table(mode, lengths, cells), flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


def _print_objectives(names: Sequence[str], lengths: Sequence[int]) -> None:
    columns = [f"{what}, {n:,}" for what in ("MiB", "s") for n in lengths]
    print("\n".join(header(["objective, tokens", *columns])))
    for name in names:
        cells = [_objective(name, length) for length in lengths]
        values = [f"{mib:,.0f}" for mib, _ in cells] + [f"{time:.2f}" for _, time in cells]
        print(row([name, *values]), flush=True)


def _objective(name: str, length: int) -> tuple[float, float]:
    """MiB of temporaries of an update, and its seconds of processor time."""
    config = MMRecConfig(vocab_size=1000)
    model, objectives = config.build(), plain_objectives()
    if (objective := _OBJECTIVES[name]) is not None:
        # Neither reads the tokens that a tokenizer makes.
        objectives[name] = objective.build(model, ByteTokenizer())
    optimizer = build_optimizer(OptimConfig(), 1000, model.decays)
    state = jax.jit(lambda: initial_state(model, objectives, optimizer, 0))()
    batch = random_batch(2, length, config.vocab_size)
    step = jax.jit(make_train_step(optimizer, objectives), donate_argnums=1)
    program = step.lower(model, state, batch).compile()
    begin = time.process_time()
    jax.block_until_ready(program(model, state, batch))
    seconds = time.process_time() - begin
    memory = program.memory_analysis()
    assert memory is not None
    return memory.temp_size_in_bytes / 2**20, seconds


def _in_a_process(mode: str, length: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.linear_cost", "--cell", mode, str(length)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    cell: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return cell


def _cell(mode: str, length: int) -> dict[str, float]:
    """Seconds (the fastest of the repeats, the first not counted) and peak memory in MiB."""
    config = MMRecConfig(vocab_size=1000)
    model, objectives = config.build(), plain_objectives()
    optimizer = build_optimizer(OptimConfig(), 1000, model.decays)
    state = jax.jit(lambda: initial_state(model, objectives, optimizer, 0))()
    batch = random_batch(1, length, config.vocab_size)
    times = []
    if mode == "train":
        train_step = jax.jit(make_train_step(optimizer, objectives), donate_argnums=1)
        for _ in range(1 + _REPEATS):
            begin = time.perf_counter()
            state, metrics = train_step(model, state, batch)
            jax.block_until_ready((state, metrics))
            times.append(time.perf_counter() - begin)
    else:
        eval_step = jax.jit(make_eval_step())
        for _ in range(1 + _REPEATS):
            begin, memory = time.perf_counter(), model.initial_state(1)
            for first in range(0, length, _ROW):
                part = {name: x[:, first : first + _ROW] for name, x in batch.items()}
                predicted, memory = eval_step(model, state.params, part, memory)
            jax.block_until_ready((predicted, memory))
            times.append(time.perf_counter() - begin)
    return {"seconds": min(times[1:]), "peak_mib": peak_memory() / 2**20}


def _table(mode: str, lengths: list[int], cells: list[dict[str, float]]) -> str:
    lines = [
        f"| {mode}, tokens | seconds | off the line | tokens/s | peak MiB | off the line |",
        "|---|---|---|---|---|---|",
    ]
    fits = [_off_the_line(lengths, [cell[name] for cell in cells]) for name in cells[0]]
    for i, (length, cell) in enumerate(zip(lengths, cells, strict=True)):
        seconds, peak = cell["seconds"], cell["peak_mib"]
        lines.append(
            f"| {length:,} | {seconds:.3f} | {fits[0][i]:+.0%} | {length / seconds:,.0f} | "
            f"{peak:,.0f} | {fits[1][i]:+.0%} |"
        )
    return "\n".join(lines) + "\n"


def _off_the_line(lengths: list[int], values: list[float]) -> NDArray[np.float64]:
    """Relative distance of each value from the line with the least squares of such distances."""
    y = np.asarray(values)
    columns = np.stack([np.ones(len(y)), np.asarray(lengths, float)], axis=1)
    (a, b), *_ = np.linalg.lstsq(columns / y[:, None], np.ones(len(y)), rcond=None)
    return y / (a + b * np.asarray(lengths)) - 1


if __name__ == "__main__":
    main()
