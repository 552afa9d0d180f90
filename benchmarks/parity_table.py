"""Trains `configs/parity.py` with each gate and seed, and prints a Markdown table.

    python -m benchmarks.parity_table --workdir=runs/parity_table

A run that is already there is not trained again.
"""

import argparse
import time
from pathlib import Path

from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config_file import read_config
from mmrec_jax.train.loop import run
from mmrec_jax.train.writer import read_metrics

_CONFIG = str(Path(__file__).parents[1] / "configs" / "parity.py")


def main() -> None:
    """Runs all of them, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", type=Path, default=Path("runs/parity_table"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for gate in ("state", "input"):
        for seed in range(options.seeds):
            values = {"model.gate": gate, "train.seed": seed, "data.seed": seed}
            overrides = [f"--config.{name}={value}" for name, value in values.items()]
            config = read_config(_CONFIG, overrides)
            workdir = Workdir(options.workdir / f"{gate}_{seed}")
            begin = time.process_time()
            run(config, workdir.root)
            seconds = time.process_time() - begin
            scores = [
                line for line in read_metrics(workdir.metrics) if line["split"] == "validation"
            ]
            cells = [f"{scores[-1][f'accuracy@{n}']:.1%}" for n in config.data.eval_lengths]
            cells.append(f"{scores[-1]['loss']:.2g}")
            rows.append(" | ".join([f"| `{gate}` | {seed}", *cells, f"{seconds:.0f} |"]))
    lengths = " | ".join(f"length {n:,}" for n in config.data.eval_lengths)
    print(f"| gate | seed | {lengths} | loss, nats/answer | CPU seconds |")
    print("|" + "---|" * (4 + len(config.data.eval_lengths)))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
