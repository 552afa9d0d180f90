"""MM-Rec beside other architectures of its size on this machine's processor.

    python -m benchmarks.peer_speed --torch-python=PATH

Tokens/s of training (forward, backward, AdamW with clipping) and of decoding one sample, the bytes
of the state, the peak memory of training. Random parameters, the same tokens, as many parameters
within 5 %, float32. Every cell is a process of its own, one at a time: a warm-up step and two timed
ones. Writes PREFIX.json after each cell, and PREFIX.md and PREFIX.png at the end.
"""

import argparse
import dataclasses
import json
import os
import platform
from pathlib import Path
from typing import Any

from benchmarks.cell_process import pythons, run_cell
from benchmarks.floor import abstract_parameters
from benchmarks.matching import matching, parameters_of
from benchmarks.peer_report import draw, to_markdown
from benchmarks.speed_cell import Cell
from benchmarks.speed_table import Measured, describe
from mmrec_jax.errors import UserError, exit_on_user_error
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.tree import count

_ROOT = Path(__file__).resolve().parents[1]
_NAMES = {
    "mmrec": "MM-Rec",
    "jax": "attention, JAX",
    "qwen3": "Qwen3",
    "recurrent-gemma": "RecurrentGemma",
    "mamba2": "Mamba2",
    "qwen3-next": "Qwen3-Next",
    "xlstm": "xLSTM",
}


def main() -> None:
    """Measures what was asked for."""
    options = _options()
    with exit_on_user_error():
        _check(options)
        found = pythons(options.models, options.torch_python, "torch", "transformers")
        report = _measure(options, found)
        text = to_markdown(report)
        options.output.with_suffix(".md").write_text(text, "utf-8")
        draw(report, options.output.with_suffix(".png"))
        print(f"\n{text}\n{options.output}.json, {options.output}.md, {options.output}.png")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", nargs="+", choices=_NAMES, default=list(_NAMES))
    add("--lengths", type=int, nargs="+", default=[256, 1024, 4096], help="T of training, tokens")
    add("--contexts", type=int, nargs="+", default=[1024, 8192], help="tokens before decoding")
    add("--torch-python", help="a Python with torch and transformers; this one by default")
    add("--tokens", type=int, default=4096, help="of a training step")
    add("--draws", type=int, default=100, help="tokens of a decoding step")
    add("--vocabulary", type=int, default=1000)
    add("--width", type=int, default=128, help="D; heads have D / 4 channels")
    add("--layers", type=int, default=4)
    add("--limit", type=float, default=60.0, help="seconds a cell may take")
    add("--output", type=Path, default=_ROOT / "benchmarks/logs/peer_speed", metavar="PREFIX")
    return parser.parse_args()


def _check(options: argparse.Namespace) -> None:
    """Raises UserError: a number below what makes sense, or a folder that is not there."""
    for name in ("tokens", "draws", "vocabulary", "layers", "limit"):
        if getattr(options, name) <= 0:
            raise UserError(f"--{name} is {getattr(options, name)}; it must be above 0")
    if options.width <= 0 or options.width % 128:
        raise UserError(f"--width is {options.width}; it must be a multiple of 128, for xLSTM")
    if min(options.contexts) < 1:
        raise UserError(f"--contexts has {min(options.contexts)}; it must be above 0")
    for length in options.lengths:
        if length < 2 or options.tokens % length:
            raise UserError(f"--lengths has {length}; --tokens {options.tokens} must be whole rows")
    if not options.output.parent.is_dir():
        raise UserError(f"--output: the folder {options.output.parent} does not exist")


def _measure(options: argparse.Namespace, programs: dict[str, str]) -> dict[str, Any]:
    """Runs all cells and returns the report, which it also writes after each."""
    cells: list[Measured] = []
    report = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "models": {name: _NAMES[name] for name in options.models},
        "lengths": options.lengths,
        "contexts": options.contexts,
        "tokens": options.tokens,
        "draws": options.draws,
        "cells": cells,
    }
    tasks = [(length, None) for length in options.lengths]
    tasks += [(options.draws, context) for context in options.contexts]
    for length, context in tasks:
        for name, python in programs.items():
            rows = 1 if context else options.tokens // length
            config, parameters = _config(options, name)
            cell = Cell(name, config, rows, length, seconds=0.0, warm_steps=1, context=context)
            cells.append(run_cell(cell, python, options.limit, parameters=parameters))
            kind = f"decode after {context:,}" if context else f"train, T = {length:,}"
            print(f"{_NAMES[name]}, {kind}: {describe(cells[-1])}", flush=True)
            options.output.with_suffix(".json").write_text(json.dumps(report, indent=1), "utf-8")
    return report


def _config(options: argparse.Namespace, model: str) -> tuple[dict[str, Any], int | None]:
    """The fields of a model's config, and its parameters where they are known already."""
    ours = MMRecConfig(
        vocab_size=options.vocabulary,
        model_dim=options.width,
        num_layers=options.layers,
        num_memories=4,
    )
    parameters = count(abstract_parameters(ours))
    if model == "mmrec":
        return dataclasses.asdict(ours), parameters
    shape = {
        "vocab_size": ours.vocab_size,
        "model_dim": ours.D,
        "num_layers": ours.num_layers,
        "num_heads": ours.H,
    }
    if model == "jax":
        config = matching(parameters, **shape)
        return dataclasses.asdict(config), parameters_of(config)
    return shape | {"parameters": parameters}, None


if __name__ == "__main__":
    main()
