"""What a step costs whose logits are made chunk by chunk, beside the one that makes them whole.

    python -m benchmarks.chunked_loss --config.train.devices=1

The step of AdamW and the one in which Sophia-G estimates the curvature (`configs/tiny.py` with
--vocab-size ids unless --config says otherwise) are compiled for whole logits and for every chunk
of --chunks tokens, and taken by turns in one process, each round in the opposite order. Prints
Markdown: processor time, and its ratios within each round, to that of whole logits.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.markdown import header, row
from benchmarks.optimizer_cost import WARM_ROUNDS, Timed, prepare, take_turns, workload
from mmrec_jax.commands.options import require_positive
from mmrec_jax.config import Config
from mmrec_jax.config_file import parse_with_overrides, read_config
from mmrec_jax.errors import exit_on_user_error
from mmrec_jax.objectives.config import CrossEntropyConfig, Objectives

_ROOT = Path(__file__).resolve().parents[1]
_REFRESHES = {"adamw": False, "sophia_g": True}


def main() -> int:
    """Measures all of them; returns the exit status."""
    options = _options()
    with exit_on_user_error():
        require_positive(options, "rounds")
        config = read_config(str(options.config), options.overrides)
        model: Any = dataclasses.replace(config.model, vocab_size=options.vocab_size)
        config = dataclasses.replace(config, model=model)
        for optimizer, refresh in _REFRESHES.items():
            print("\n".join([f"\n{optimizer}:\n", *measure(config, optimizer, refresh, options)]))
        return 0


def measure(
    config: Config, optimizer: str, refresh: bool, options: argparse.Namespace
) -> list[str]:
    """The table of one kind of step."""
    mesh, model, batch = workload(config)
    steps: dict[int, Timed] = {}
    for chunk in (config.data.seq_len, *options.chunks):
        objectives = Objectives(cross_entropy=CrossEntropyConfig(chunk=chunk))
        chunked = dataclasses.replace(config, objectives=objectives)
        steps[chunk] = prepare(chunked, optimizer, refresh, mesh, model)
    take_turns(steps, batch, options.rounds)
    spent = {chunk: np.asarray(step.processor[WARM_ROUNDS:]) for chunk, step in steps.items()}
    whole = spent[config.data.seq_len]
    lines = header(["tokens of a row at once", "ms, least", "ms, median", "to whole", "quartiles"])
    for chunk, seconds in spent.items():
        least, median = 1e3 * np.min(seconds), 1e3 * np.median(seconds)
        low, middle, high = np.quantile(seconds / whole, [0.25, 0.5, 0.75])
        cells = [f"{chunk}", f"{least:.1f}", f"{median:.1f}"]
        lines.append(row([*cells, f"{middle:.3f}", f"{low:.3f} to {high:.3f}"]))
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config", type=Path, default=_ROOT / "configs" / "tiny.py")
    add("--vocab-size", type=int, default=5000)
    add("--chunks", type=int, nargs="+", default=[128, 64, 32], help="tokens of a row at once")
    add("--rounds", type=int, default=20, help="steps of each that are timed")
    return parse_with_overrides(parser)


if __name__ == "__main__":
    raise SystemExit(main())
