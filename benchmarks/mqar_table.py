"""Multi-query associative recall: MM-Rec's memories beside attention, and accuracy by state size.

    python -m benchmarks.mqar_table

`configs/mqar.py` (width 64, 2 layers, 128 tokens, 256 symbols) with 8 and with 32 pairs: the delta
memory, the memory without error correction, none, and attention with the parameters of the first.
Then the delta memory at 32 pairs with other shapes, whose parameters are not matched.

Prints Markdown; every finished run is a line of --log and is not done again.
"""

import argparse
import dataclasses
from pathlib import Path

import jax

from benchmarks.comparison import run_once
from benchmarks.markdown import header, row
from benchmarks.run_log import Record, RunLog
from mmrec_jax.commands.options import require_positive
from mmrec_jax.config import Config, OptimConfig
from mmrec_jax.config_file import read_config
from mmrec_jax.errors import exit_on_user_error
from mmrec_jax.tree import num_bytes

Shape = tuple[int, int, int]
PAIRS = (8, 32)
MODELS = ("delta", "decay", "none", "attention")
# Memories of a layer, slots (key size) and value size of each.
SHAPES: tuple[Shape, ...] = (
    (1, 8, 64),
    (1, 16, 64),
    (1, 32, 64),
    (1, 64, 64),
)
_SHAPE = (1, 64, 64)  # of the table of models: the config's
_CONFIG = str(Path(__file__).parents[1] / "configs" / "mqar.py")


def main() -> int:
    """Runs all of them, one after the other; returns the exit status."""
    options = _options()
    with exit_on_user_error():
        _check(options)
        recall = Recall(options, RunLog(options.log))
        print("\n".join(["", *recall.models(), "", *recall.shapes()]))
        return 0


class Recall:
    """The tables of this benchmark over one log."""

    def __init__(self, options: argparse.Namespace, log: RunLog) -> None:
        self._options = options
        self._log = log

    def models(self) -> list[str]:
        """Accuracy of each model for each number of pairs."""
        lines = header(
            ["model", "parameters", "state, bytes", *(f"{pairs} pairs" for pairs in PAIRS)]
        )
        for model in MODELS:
            runs = [self._best(model, pairs) for pairs in PAIRS]
            size = model_state_bytes(model, self._config(model, PAIRS[0]))
            cells = [f"{runs[0]['parameters']:,}", f"{size:,}", *(_accuracy(run) for run in runs)]
            lines.append(row([model, *cells]))
        return lines

    def shapes(self) -> list[str]:
        """Accuracy of the delta memory by its shape, for the most pairs."""
        names = ["memories x slots x values", "state, bytes", "parameters", f"{PAIRS[-1]} pairs"]
        lines = header(names)
        for shape in SHAPES:
            run = self._best("delta", PAIRS[-1], shape)
            size = model_state_bytes("delta", self._config("delta", PAIRS[-1], shape))
            name = " x ".join(map(str, shape))
            lines.append(row([name, f"{size:,}", f"{run['parameters']:,}", _accuracy(run)]))
        return lines

    def _best(self, model: str, pairs: int, shape: Shape = _SHAPE) -> Record:
        """The run with the most answers right, of those at each learning rate."""
        attention = model == "attention"
        rates = self._options.attention_rates if attention else self._options.mmrec_rates
        config = self._config(model, pairs, shape)
        runs = [
            run_once(
                self._log,
                "attention" if attention else "mmrec",
                dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=rate)),
                self._options.workdir,
            )
            for rate in rates
        ]
        return max(runs, key=_share)

    def _config(self, model: str, pairs: int, shape: Shape = _SHAPE) -> Config:
        memories, slots, values = shape
        changes: dict[str, object] = {
            "model.memory": "delta" if model == "attention" else model,
            "model.num_memories": memories,
            "model.memory_slots": slots,
            "model.mem_dim": values,
            "data.pairs": pairs,
            "train.seed": self._options.seed,
            "data.seed": self._options.seed,
            "train.eval_every": self._options.steps,
            "train.steps": self._options.steps,
        }
        return read_config(_CONFIG, [f"--config.{name}={x}" for name, x in changes.items()])


def model_state_bytes(model: str, config: Config) -> int:
    """What one row remembers at the end of an example; of attention, all keys and values."""
    shape = config.model
    if model == "attention":
        return 2 * 4 * shape.num_layers * shape.D * config.data.seq_len
    # Shapes alone: an array would start JAX before a run has chosen its devices.
    return num_bytes(jax.eval_shape(lambda: shape.build().initial_state(1)))


def _share(run: Record) -> float:
    """Answers right, of all queries; below every share for a run that diverged."""
    if run["metrics"] is None:
        return -1.0
    (share,) = (x for name, x in run["metrics"].items() if name.startswith("token_accuracy@"))
    return share


def _accuracy(run: Record) -> str:
    if run["metrics"] is None:
        return f"diverged at step {run['diverged_at']:,} (lr {run['lr']:g})"
    return f"{_share(run):.1%} (lr {run['lr']:g})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--mmrec-rates", type=float, nargs="+", default=[5e-3], metavar="LR")
    add("--attention-rates", type=float, nargs="+", default=[1e-3, 3e-3], metavar="LR")
    add("--steps", type=int, default=1500, help="of 32 examples each")
    add("--seed", type=int, default=0, help="of the parameters and the examples")
    add("--log", type=Path, default=Path("benchmarks/logs/mqar.jsonl"))
    add("--workdir", type=Path, default=Path("runs/mqar_table"), help="for compiled programs")
    return parser.parse_args()


def _check(options: argparse.Namespace) -> None:
    """Raises UserError: a number that cannot be right, before the first run."""
    require_positive(options, "steps")
    for rate in (*options.mmrec_rates, *options.attention_rates):
        OptimConfig(lr=rate)


if __name__ == "__main__":
    raise SystemExit(main())
