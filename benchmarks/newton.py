"""How many passes the parallel solver needs on a trained model, and how far it is from stepping.

python benchmarks/newton.py --workdir=runs/tiny --data=TEXT

Reads a text as one document with `scan="parallel"`, with and without the budget of passes of the
model's config, and with `scan="sequential"`, each row of T tokens as one chunk. For a model of
`configs/parity.py` the text is any string of 0 and 1. Few passes are a property of the model and
not of the solver: one that forgets nothing needs as many as there are chunks (`newton.py`).
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
    """Prints, for each length, passes of the slowest layer, fall-backs and how exact it is."""
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
        for name, scan, budget in (
            ("unlimited", "parallel", None),
            ("budget", "parallel", model.config.newton_passes),
            ("sequential", "sequential", None),
        ):
            changes = {"scan": scan, "newton_passes": budget, "time_chunk": length}
            config = dataclasses.replace(model.config, **changes)
            solves[name] = jax.jit(functools.partial(forward, MMRecLM(config)))
        passes, falls, differences = [], 0, []
        for row in tokens[: rows * length].reshape(rows, 1, length):
            passes.append(int(solves["unlimited"](params, row)[2]["newton_iterations"]))
            logits, _, statistics = solves["budget"](params, row)
            expected = solves["sequential"](params, row)[0]
            falls += int(statistics["newton_fell_back"])
            scale = float(np.max(np.abs(expected)))
            differences.append(float(np.max(np.abs(logits - expected))) / scale)
        print(
            f"T = {length:,}, {rows} rows: passes of the slowest layer, median "
            f"{np.median(passes):g}, most {max(passes)}; with at most {model.config.newton_passes} "
            f"{falls} fell back; logits differ by {max(differences):.1e}"
        )


if __name__ == "__main__":
    main()
