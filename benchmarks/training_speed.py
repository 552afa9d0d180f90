"""Training speed of MM-Rec beside attention models of the same size, on this machine.

    python -m benchmarks.training_speed --torch-python=PATH

Every cell (model, length) is timed in a process of its own, one at a time; the models take turns,
and each round goes through them in the opposite order, so that a slow minute of the machine hits
all alike. Writes PREFIX.json after each cell and PREFIX.md at the end.
"""

import argparse
import dataclasses
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from benchmarks.cell_process import pythons, run_cell, run_process
from benchmarks.floor import abstract_parameters, floor
from benchmarks.matching import matching, parameters_of
from benchmarks.speed_cell import Cell
from benchmarks.speed_table import Measured, describe, to_markdown
from mmrec_jax.errors import UserError, exit_on_user_error
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.tree import count

_ROOT = Path(__file__).resolve().parents[1]
_SIZES = {
    "1m": MMRecConfig(vocab_size=1_000, model_dim=128, num_layers=4, num_memories=4),
    "10m": MMRecConfig(vocab_size=4_000, model_dim=320, num_layers=5, num_memories=5),
}
_NAMES = {
    "mmrec": "MM-Rec",
    "torch": "attention, torch",
    "torch-compiled": "attention, torch.compile",
    "jax": "attention, JAX",
}


def main() -> None:
    """Measures what was asked for."""
    options = _options()
    with exit_on_user_error():
        _check(options)
        models = pythons(options.models, options.torch_python, "torch", "numpy")
        report = _measure(options, models)
        text = to_markdown(report)
        options.output.with_suffix(".md").write_text(text, "utf-8")
        print(f"\n{text}\n{options.output}.json, {options.output}.md")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--lengths", type=int, nargs="+", default=[256, 1024, 4096, 16384], help="T, tokens")
    add("--sizes", nargs="+", choices=_SIZES, default=["1m"])
    add("--models", nargs="+", choices=_NAMES, default=list(_NAMES))
    add("--torch-python", help="a Python that has torch and numpy; this one by default")
    add("--heads", type=int, help="of the attention models; as many as MM-Rec's H by default")
    add("--tokens", type=int, default=4096, help="of a step; two rows where they are longer")
    add("--seconds", type=float, default=5.0, help="of timed steps in a cell and round")
    add("--rounds", type=int, default=2)
    add("--limit", type=float, default=60.0, help="seconds a process may take")
    add("--output", type=Path, default=_ROOT / "benchmarks/logs/training_speed", metavar="PREFIX")
    return parser.parse_args()


def _check(options: argparse.Namespace) -> None:
    """Raises UserError: a number below what makes sense, or a folder that is not there."""
    for name in ("tokens", "rounds", "seconds", "limit", "heads"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise UserError(f"--{name} is {value}; it must be above 0")
    if min(options.lengths) < 2:
        raise UserError(f"--lengths has {min(options.lengths)}; a row needs 2 tokens or more")
    for size in options.sizes:
        width = _SIZES[size].D
        if options.heads and width % (2 * options.heads):
            raise UserError(f"--heads is {options.heads}; {width} channels do not make even heads")
    if not options.output.parent.is_dir():
        raise UserError(f"--output: the folder {options.output.parent} does not exist")


def _measure(options: argparse.Namespace, models: dict[str, str]) -> dict[str, Any]:
    """Runs all cells and returns the report, which it also writes after each."""
    rates = run_process([sys.executable, "-m", "benchmarks.floor"], options.limit)
    if rates["failed"]:
        raise UserError(f"benchmarks.floor failed: {rates['failed']}")
    cells: list[Measured] = []
    report = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "models": {name: _NAMES[name] for name in options.models},
        "rates": rates,
        "floors": {size: floor(_SIZES[size], rates, options.tokens) for size in options.sizes},
        "cells": cells,
    }
    for size in options.sizes:
        for length in options.lengths:
            measured: dict[str, Measured] = {}
            for turn in range(options.rounds):
                for name in list(models)[:: 1 if turn % 2 == 0 else -1]:
                    before = measured.get(name)
                    if before and before["failed"]:
                        continue  # once was enough
                    result = _run_cell(options, size, length, name, models[name])
                    measured[name] = _joined(before, result) if before else result
                    print(f"{size}, T = {length:,}, {_NAMES[name]}: {describe(result)}", flush=True)
            cells += [measured[name] for name in models]
            options.output.with_suffix(".json").write_text(json.dumps(report, indent=1), "utf-8")
    return report


def _run_cell(
    options: argparse.Namespace, size: str, length: int, model: str, python: str
) -> Measured:
    """One round of one cell."""
    ours = _SIZES[size]
    parameters = count(abstract_parameters(ours))
    config: Any = ours
    if model != "mmrec":
        config = matching(
            parameters,
            vocab_size=ours.vocab_size,
            model_dim=ours.D,
            num_layers=ours.num_layers,
            num_heads=options.heads or ours.H,
        )
        parameters = parameters_of(config)
    rows = max(2, options.tokens // length)  # one a core, also of the longest
    cell = Cell(model, dataclasses.asdict(config), rows, length, options.seconds)
    return run_cell(cell, python, options.limit, size=size, parameters=parameters)


def _joined(first: Measured, second: Measured) -> Measured:
    """Two rounds of a cell as one; the compile time is the first one's."""
    busy = [cell["others"] for cell in (first, second) if cell["others"] is not None]
    return second | {
        "compile_seconds": first["compile_seconds"],
        "warm_seconds": first["warm_seconds"] + second["warm_seconds"],
        "step_seconds": first["step_seconds"] + second["step_seconds"],
        "peak_bytes": max(first["peak_bytes"] or 0, second["peak_bytes"] or 0),
        "others": sum(busy) / len(busy) if busy else None,
    }


if __name__ == "__main__":
    main()
