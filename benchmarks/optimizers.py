"""AdamW, Sophia-G, Sophia-H, Lion and Muon on one model and text, each with the same sweep.

    python -m benchmarks.optimizer_cost       # first, for the columns of time
    python -m benchmarks.optimizers

The run is `optimizers_config.py`. Each optimizer has four points at seed 0 (of the parameters and
of the order of the data), and the best one is run at 3 seeds. Judged are validation bits per byte
at the end of the schedule; the point is chosen by the same text that is reported, for all alike.

Prints Markdown and draws --picture. Every finished run is a line of --log and is not done again,
so the same command continues what was interrupted.
"""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from benchmarks.optimizer_runs import MODEL, finish
from benchmarks.optimizers_report import draw, ends_table, points_table
from benchmarks.run_log import Record, RunLog, bits
from mmrec_jax.commands.options import require_positive
from mmrec_jax.config import Config
from mmrec_jax.config_file import parse_with_overrides, read_config
from mmrec_jax.errors import UserError, exit_on_user_error

Point = dict[str, float]
# Fields of `OptimConfig`. Decay is stronger where rates are lower: what a step takes away is
# lr x weight_decay. These grids were moved: see what is said of the first ones in README.md.
POINTS: dict[str, tuple[Point, ...]] = {
    "adamw": tuple({"lr": lr, "b2": b2} for lr in (1e-2, 2e-2) for b2 in (0.95, 0.99)),
    "sophia_g": tuple(
        {"lr": lr, "b1": 0.9, "gamma": gamma, "weight_decay": 0.2}
        for lr in (5e-3, 1e-2)
        for gamma in (0.03, 0.1)
    ),
    "sophia_h": tuple(
        {"lr": lr, "b1": 0.9, "gamma": gamma, "weight_decay": 0.2}
        for lr in (5e-3, 1e-2)
        for gamma in (0.1, 1.0)
    ),
    "lion": tuple(
        {"lr": lr, "b2": b2, "weight_decay": 0.4} for lr in (2.5e-3, 5e-3) for b2 in (0.9, 0.95)
    ),
    "muon": tuple({"lr": lr, "b1": b1} for lr in (1e-2, 2e-2) for b1 in (0.85, 0.9)),
}
_HERE = Path(__file__).resolve().parent
_CONFIG = _HERE / "optimizers_config.py"


def main() -> int:
    """Does what is missing and reports; returns the exit status."""
    options = _options()
    with exit_on_user_error():
        _check(options)
        base = read_config(str(_CONFIG), options.overrides)
        log = RunLog(options.log)
        sweeps, ends = runs(options, base, log)
        cost = _cost(options.cost)
        print("\n".join(["", *ends_table(ends, cost), "", *points_table(sweeps)]))
        draw(ends, cost, options.picture)
        print(f"\n{options.picture}")
        return 0


def runs(
    options: argparse.Namespace, base: Config, log: RunLog
) -> tuple[dict[str, list[Record]], dict[str, list[Record]]]:
    """Every point of each optimizer at seed 0, and the best point of each at all seeds."""

    def do(configs: dict[str, list[Config]]) -> dict[str, list[Record]]:
        wanted = [config for several in configs.values() for config in several]
        finish(log, wanted, options.workdir, options.jobs)
        return {name: [_found(log, config) for config in configs[name]] for name in configs}

    points = {
        name: [_at(base, name, point, 0) for point in POINTS[name]] for name in options.optimizers
    }
    sweeps = do(points)
    best = {
        name: min(zip(sweeps[name], POINTS[name], strict=True), key=lambda pair: bits(pair[0]))[1]
        for name in points
    }
    seeds = range(options.seeds)
    return sweeps, do(
        {name: [_at(base, name, best[name], seed) for seed in seeds] for name in best}
    )


def _at(base: Config, name: str, point: Point, seed: int) -> Config:
    changes: dict[str, Any] = {"name": name, **point}
    return dataclasses.replace(
        base,
        optim=dataclasses.replace(base.optim, **changes),
        data=dataclasses.replace(base.data, seed=seed),
        train=dataclasses.replace(base.train, seed=seed),
    )


def _found(log: RunLog, config: Config) -> Record:
    record = log.find(MODEL, config)
    assert record is not None
    return record


def _cost(path: Path) -> dict[str, float]:
    """Time of a step over AdamW's, from `optimizer_cost.py`; empty if it has not been run."""
    if not path.exists():
        return {}
    report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    cost: dict[str, float] = report["cost"]
    return cost


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--optimizers", nargs="+", choices=list(POINTS), default=list(POINTS))
    add("--seeds", type=int, default=3, help="runs of each optimizer at its best point")
    add("--jobs", type=int, default=2, help="runs at the same time, each on one core")
    add("--log", type=Path, default=_HERE / "logs" / "optimizers.jsonl")
    add("--cost", type=Path, default=_HERE / "logs" / "optimizer_cost.json")
    add("--picture", type=Path, default=_HERE / "pictures" / "optimizers.png")
    add("--workdir", type=Path, default=Path("runs/optimizers"), help="for runs and programs")
    return parse_with_overrides(parser)


def _check(options: argparse.Namespace) -> None:
    """Raises UserError: an option that cannot be right, before the first run."""
    require_positive(options, "seeds", "jobs")
    if not options.picture.parent.is_dir():
        raise UserError(f"--picture: the folder {options.picture.parent} does not exist")


if __name__ == "__main__":
    raise SystemExit(main())
