"""How many passes the parallel solver needs on a trained model, and how far it is from stepping.

python benchmarks/newton.py --workdir=runs/tiny --data=TEXT

Reads a text as one document with `scan="parallel"` and with `scan="sequential"`, each row of T
tokens as one piece.
"""

import argparse
import dataclasses
import functools
from pathlib import Path

import jax
import numpy as np

import mmrec_jax
from mmrec_jax.models.mmrec.model import MMRecLM, forward


def main() -> None:
    """Prints, for each length, the passes of the slowest layer and the difference in the logits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--data", required=True, type=Path, help="a text file to read")
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1_024, 4_096])
    parser.add_argument("--rows", type=int, default=8, help="rows read one after the other")
    options = parser.parse_args()
    model, params, tokenizer = mmrec_jax.load(options.workdir)
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
        for scan in ("parallel", "sequential"):
            config = dataclasses.replace(model.config, scan=scan, time_chunk=length)
            solves[scan] = jax.jit(functools.partial(forward, MMRecLM(config)))
        passes, residuals, falls, differences = [], [], 0, []
        for row in tokens[: rows * length].reshape(rows, 1, length):
            logits, _, statistics = solves["parallel"](params, row)
            expected = solves["sequential"](params, row)[0]
            passes.append(int(statistics["newton_iterations"]))
            residuals.append(float(statistics["newton_residual"]))
            falls += int(statistics["newton_fell_back"])
            scale = float(np.max(np.abs(expected)))
            differences.append(float(np.max(np.abs(logits - expected))) / scale)
        print(
            f"T = {length:,}, {rows} rows: passes of the slowest layer, median "
            f"{np.median(passes):g}, most {max(passes)}; residual <= {max(residuals):.1e}; "
            f"{falls} fell back; logits differ by {max(differences):.1e}"
        )


if __name__ == "__main__":
    main()
