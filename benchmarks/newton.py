"""How many passes the parallel solver needs on a trained model, and how far it is from stepping.

    python -m benchmarks.newton --workdir=runs/tiny --data=TEXT

Reads a text as one document with `scan="parallel"`, with and without the budget of passes of the
model's config, and with `scan="sequential"`, each row of T tokens as one chunk. For a model of
`configs/parity.py` the text is any string of 0 and 1. Few passes are a property of the model and
not of the solver: one that forgets nothing needs as many as there are chunks (`newton.py`).
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

import mmrec_jax
from mmrec_jax.errors import UserError, exit_on_user_error
from mmrec_jax.models.mmrec.config import MMRecConfig


def main() -> None:
    """Prints, for each length, passes of the slowest layer, fall-backs and how exact it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data", required=True, type=Path, help="a text file to read")
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1_024, 4_096])
    parser.add_argument("--rows", type=int, default=8, help="rows read one after the other")
    options = parser.parse_args()
    with exit_on_user_error():
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    model, params, tokenizer = mmrec_jax.load(options.workdir)
    trained = model.config
    if not isinstance(trained, MMRecConfig):
        raise UserError(f"--workdir {options.workdir}: only MM-Rec has this solver")
    tokens = np.asarray(tokenizer.encode(options.data.read_text("utf-8")), np.int32)
    if "w_g" in params["blocks"]:
        sizes = np.sqrt(np.mean(np.square(params["blocks"]["w_g"]), axis=-1))
        largest = np.max(np.abs(params["blocks"]["w_g"]), axis=-1)
        print(f"|w_g| by layer, root mean square: {np.round(sizes, 2)}, largest {largest.round(2)}")
    for length in options.lengths:
        rows = min(options.rows, len(tokens) // length)
        if not rows:
            print(f"T = {length:,}: the text has only {len(tokens):,} tokens")
            continue
        solves = {}
        for name, scan, budget in (
            ("unlimited", "parallel", None),
            ("budget", "parallel", trained.newton_passes),
            ("sequential", "sequential", None),
        ):
            changes: dict[str, Any] = {"scan": scan, "newton_passes": budget}
            config = dataclasses.replace(trained, time_chunk=length, **changes)
            solves[name] = jax.jit(config.build().apply)
        passes, falls, differences = [], 0, []
        for row in tokens[: rows * length].reshape(rows, 1, length):
            passes.append(int(solves["unlimited"](params, row).metrics["newton_iterations"]))
            output = solves["budget"](params, row)
            expected = solves["sequential"](params, row).logits
            falls += int(output.metrics["newton_fell_back"])
            scale = float(np.max(np.abs(expected)))
            differences.append(float(np.max(np.abs(output.logits - expected))) / scale)
        print(
            f"T = {length:,}, {rows} rows: passes of the slowest layer, median "
            f"{np.median(passes):g}, most {max(passes)}; with at most {trained.newton_passes} "
            f"{falls} fell back; logits differ by {max(differences):.1e}"
        )


if __name__ == "__main__":
    main()
