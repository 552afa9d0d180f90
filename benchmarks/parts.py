"""What the parts of MM-Rec cost in training: processor time of a step with one of them changed.

    python -m benchmarks.parts --length 1024

The model of `peer_speed`, the same tokens a step; all variants are compiled first and then take
their steps in turns, so that other work disturbs them alike. Processor time counts all cores; it is
nearly the same on a busy machine, wall-clock time is not. Prints Markdown.
"""

import argparse
import time

import numpy as np

from benchmarks.markdown import header, row
from benchmarks.speed_cell import mmrec_training
from benchmarks.timing import Step
from benchmarks.workload import random_batch
from mmrec_jax.commands.options import require_positive
from mmrec_jax.errors import UserError, exit_on_user_error

VARIANTS: dict[str, dict[str, object]] = {
    "gate=state, memory=delta": {},
    "gate=input": {"gate": "input"},
    "gate=none": {"gate": "none"},
    "memory=decay": {"memory": "decay"},
    "memory=none": {"memory": "none"},
    "gate=none, memory=none": {"gate": "none", "memory": "none"},
}
_VOCABULARY = 1000
_SHAPE: dict[str, object] = {
    "vocab_size": _VOCABULARY,
    "model_dim": 128,
    "num_layers": 4,
    "num_memories": 4,
}


def main() -> int:
    """Measures every variant; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--length", type=int, default=1024, help="T, tokens of a row")
    add("--tokens", type=int, default=4096, help="of a step")
    add("--steps", type=int, default=5, help="timed steps of each variant")
    options = parser.parse_args()
    with exit_on_user_error():
        require_positive(options, "steps")
        if options.length < 2 or options.tokens % options.length:
            raise UserError(
                f"--length is {options.length}; --tokens {options.tokens} must be whole rows"
            )
        times = _measure(options.tokens // options.length, options.length, options.steps)
        print("\n".join(_lines(times, options.length)))
        return 0


def _measure(rows: int, length: int, steps: int) -> dict[str, float]:
    """Median processor seconds of a step of each variant."""
    batch = random_batch(rows, length, _VOCABULARY)
    programs = {}
    for name, changes in VARIANTS.items():
        _, programs[name] = mmrec_training(_SHAPE | changes, batch)
        programs[name]()  # the first touches its memory
        print(f"{name}: compiled", flush=True)
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(steps):
        for name, program in programs.items():
            taken[name].append(_timed(program))
    return {name: float(np.median(times)) for name, times in taken.items()}


def _timed(step: Step) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def _lines(times: dict[str, float], length: int) -> list[str]:
    first = next(iter(times.values()))
    lines = header([f"T = {length:,}", "processor seconds a step", "of the first"])
    for name, own in times.items():
        lines.append(row([name, f"{own:.3f}", f"{own / first:.0%}"]))
    return lines


if __name__ == "__main__":
    raise SystemExit(main())
