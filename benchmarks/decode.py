"""Whether generation slows down as the text grows: tokens/s early and late in one long text.

python benchmarks/decode.py --workdir=runs/tiny
"""

import argparse
import time

import numpy as np

import mmrec_jax
from mmrec_jax.generation import stream
from mmrec_jax.nn.state import state_bytes, zero_state

_WINDOW = 500


def main() -> None:
    """Prints the rate over 500 tokens after token 10 and after each later mark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--marks", type=int, nargs="+", default=[10, 1_000, 5_000, 10_000])
    options = parser.parse_args()
    model, params, tokenizer = mmrec_jax.load(options.workdir)
    print(f"state: {state_bytes(zero_state(model.config, 1)):,} bytes")
    last = max(options.marks) + _WINDOW
    times = []
    for _ in stream(model, params, np.array([tokenizer.bos_id]), max_tokens=last):
        times.append(time.perf_counter())
    rates = {
        mark: _WINDOW / (times[mark + _WINDOW - 1] - times[mark - 1]) for mark in options.marks
    }
    for mark, rate in rates.items():
        print(f"after token {mark:,}: {rate:,.0f} tokens/s ({rate / rates[options.marks[0]]:.2f}x)")


if __name__ == "__main__":
    main()
