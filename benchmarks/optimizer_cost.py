"""What a step costs with each optimizer, beside AdamW's: time, and memory.

    python -m benchmarks.optimizer_cost

The steps of a run (`configs/tiny.py` unless --config says otherwise) are compiled for every
optimizer, and then taken by turns in one process, each round in the opposite order, so that a slow
minute of the machine hits all alike. They minimise the cross-entropy alone, of random tokens, a
document a row. Prints Markdown and
writes --output, which `optimizers.py` reads.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from benchmarks.markdown import header, row
from benchmarks.workload import plain_objectives, random_batch
from mmrec_jax.commands.options import require_positive
from mmrec_jax.config import Config
from mmrec_jax.config_file import parse_with_overrides, read_config
from mmrec_jax.errors import UserError, exit_on_user_error
from mmrec_jax.models.api import LanguageModel
from mmrec_jax.objectives.api import Batch
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.compiled_steps import lower_refresh, lower_step
from mmrec_jax.train.mesh import make_mesh, row_devices, shard_batch, split_cpu, state_shardings
from mmrec_jax.train.state import initial_state
from mmrec_jax.tree import num_bytes

# The kinds of steps of each optimizer, by name, and whether they refresh the curvature first. The
# plain step of both Sophias is one program.
STEPS = {
    "adamw": {"adamw": False},
    "sophia_g": {"sophia, plain": False, "sophia_g, refresh": True},
    "sophia_h": {"sophia, plain": False, "sophia_h, refresh": True},
    "lion": {"lion": False},
    "muon": {"muon": False},
}
_ROOT = Path(__file__).resolve().parents[1]
WARM_ROUNDS = 2  # that are not counted


@dataclasses.dataclass
class Timed:
    """One kind of step, compiled, its state, and what was measured of it."""

    step: Any
    refresh: Any  # the program before it, or None
    model: LanguageModel
    state: Any
    moment_bytes: int  # of the optimizer's arrays
    temporary_bytes: int  # what the larger program needs beside its inputs and outputs
    wall: list[float] = dataclasses.field(default_factory=list)
    processor: list[float] = dataclasses.field(default_factory=list)

    def take(self, batch: Any) -> None:
        """Takes one step and waits for it."""
        wall, processor = time.perf_counter(), time.process_time()
        if self.refresh is not None:
            self.state = self.refresh(self.model, self.state, batch)
        self.state, metrics = self.step(self.model, self.state, batch)
        jax.block_until_ready((self.state, metrics))
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)


def main() -> int:
    """Measures all of them; returns the exit status."""
    options = _options()
    with exit_on_user_error():
        require_positive(options, "rounds")
        if not options.output.parent.is_dir():
            raise UserError(f"--output: the folder {options.output.parent} does not exist")
        config = read_config(str(options.config), options.overrides)
        report = measure(config, options.optimizers, options.rounds)
        options.output.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
        print("\n".join(["", *table(report), "", f"{options.output}"]))
        return 0


def measure(config: Config, optimizers: Sequence[str], rounds: int) -> dict[str, Any]:
    """Times the steps of AdamW and of `optimizers`.

    Returns:
      `steps`: of each the medians `seconds` and `cpu_seconds`, and the bytes; `cost`: processor
      time of a step of each optimizer over AdamW's, with a refresh every `hessian_every` steps, the
      median over the rounds; `hessian_every`, `estimator_batch` and `rounds`.
    """
    mesh, model, batch = workload(config)
    steps: dict[str, Timed] = {}
    for name in ("adamw", *optimizers):
        for label, refresh in STEPS[name].items():
            if label not in steps:
                print(f"compiling {label} ...", flush=True)
                steps[label] = prepare(config, name, refresh, mesh, model)
    take_turns(steps, batch, rounds)
    optim = config.optim
    return {
        "steps": {
            label: {
                "seconds": statistics.median(step.wall[WARM_ROUNDS:]),
                "cpu_seconds": statistics.median(step.processor[WARM_ROUNDS:]),
                "moment_bytes": step.moment_bytes,
                "temporary_bytes": step.temporary_bytes,
            }
            for label, step in steps.items()
        },
        "cost": _cost(steps, optim.hessian_every),
        "hessian_every": optim.hessian_every,
        "estimator_batch": optim.estimator_batch,
        "rounds": rounds,
    }


def _cost(steps: dict[str, Timed], every: int) -> dict[str, float]:
    """Ratios within each round, whose steps were near in time; their median.

    Of processor time, which other work on the machine changes less than it does the clock's.
    """
    spent = {label: np.asarray(step.processor[WARM_ROUNDS:]) for label, step in steps.items()}
    cost = {}
    for name, labels in STEPS.items():
        if not labels.keys() <= spent.keys():
            continue
        plain, *refresh = (spent[label] for label in labels)
        of_a_step = plain + (refresh[0] - plain) / every if refresh else plain
        cost[name] = float(np.median(of_a_step / spent["adamw"]))
    return cost


def table(report: dict[str, Any]) -> list[str]:
    """The report as Markdown."""
    lines = header(
        ["step", "ms", "processor ms", "to AdamW", "optimizer state, MiB", "temporaries, MiB"]
    )
    first = report["steps"]["adamw"]
    for label, step in report["steps"].items():
        cells = [label, f"{1e3 * step['seconds']:.1f}", f"{1e3 * step['cpu_seconds']:.1f}"]
        cells.append(f"{step['cpu_seconds'] / first['cpu_seconds'] - 1:+.1%}")
        cells += [f"{step[f'{kind}_bytes'] / 2**20:.1f}" for kind in ("moment", "temporary")]
        lines.append(row(cells))
    over = ", ".join(
        f"{name} {cost - 1:+.1%}" for name, cost in report["cost"].items() if name != "adamw"
    )
    return [*lines, "", f"Processor time over AdamW, k = {report['hessian_every']}: {over}."]


def workload(config: Config) -> tuple[Mesh, LanguageModel, Batch]:
    """The devices, the model, and a batch of random tokens on them."""
    split_cpu(config)
    mesh, train = make_mesh(config), config.train
    rows = train.batch_size // train.accumulate // row_devices(mesh)
    model = config.model.fitted(rows, mesh.devices.flat[0].platform).build()
    tokens = random_batch(train.batch_size, config.data.seq_len, config.model.vocab_size)
    return mesh, model, shard_batch(tokens, mesh)


def take_turns(steps: Mapping[Any, Timed], batch: Batch, rounds: int) -> None:
    """Takes each step once a round, in the opposite order every other round."""
    for turn in range(WARM_ROUNDS + rounds):
        for label in list(steps)[:: 1 if turn % 2 else -1]:
            steps[label].take(batch)


def prepare(config: Config, name: str, refresh: bool, mesh: Mesh, model: LanguageModel) -> Timed:
    """Compiles a kind of step of an optimizer whose own numbers are at their defaults."""
    own = dict.fromkeys(("b1", "b2", "eps", "gamma"))
    changes: dict[str, Any] = {"name": name, "warmup_steps": 10, **own}
    optim = dataclasses.replace(config.optim, **changes)
    config = dataclasses.replace(config, optim=optim)
    optimizer = build_optimizer(optim, 1000, model.decays)
    objectives = plain_objectives(config.objectives.cross_entropy.chunk)

    rows = config.train.batch_size if config.train.passes_states else None

    def start() -> Any:
        return initial_state(model, objectives, optimizer, 0, rows)

    shardings = state_shardings(jax.eval_shape(start), model, mesh)
    state = jax.jit(start, out_shardings=shardings)()
    step = lower_step(config, mesh, model, objectives, optimizer, state).compile()
    before = lower_refresh(config, mesh, model, state).compile() if refresh else None
    memory = [each.memory_analysis() for each in (step, before) if each is not None]
    return Timed(
        step=step,
        refresh=before,
        model=model,
        state=state,
        moment_bytes=num_bytes(state.opt_state),
        temporary_bytes=max(each.temp_size_in_bytes for each in memory if each is not None),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config", type=Path, default=_ROOT / "configs" / "tiny.py")
    others = [name for name in STEPS if name != "adamw"]
    add("--optimizers", nargs="+", choices=others, default=others, help="beside AdamW")
    add("--rounds", type=int, default=20, help="steps of each that are timed")
    add("--output", type=Path, default=_ROOT / "benchmarks/logs/optimizer_cost.json")
    return parse_with_overrides(parser)


if __name__ == "__main__":
    raise SystemExit(main())
