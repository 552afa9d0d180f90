"""Whether generation slows down as the text grows: tokens/s at contexts short and long.

python -m benchmarks.decode --workdir=runs/tiny
"""

import argparse
import time

import numpy as np

import mmrec_jax
from mmrec_jax.inference.generate import stream
from mmrec_jax.inference.prefill import prefill
from mmrec_jax.tree import num_bytes

_WINDOW = 500
_REPEATS = 3


def main() -> None:
    """Prints the rate over 500 tokens after a prompt of each length, the median of three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True)
    parser.add_argument(
        "--contexts", type=int, nargs="+", default=[10, 1_024, 8_192, 32_768, 131_072]
    )
    options = parser.parse_args()
    model, params, tokenizer = mmrec_jax.load(options.workdir)
    print(f"state: {num_bytes(model.initial_state(1)):,} bytes")
    rng = np.random.default_rng(0)
    prompts = {length: rng.integers(0, tokenizer.vocab_size, length) for length in options.contexts}
    rates: dict[int, list[float]] = {length: [] for length in options.contexts}
    for _ in range(_REPEATS):  # in turn, so that a slow moment does not fall on one length alone
        for length, prompt in prompts.items():
            state = prefill(model, params, prompt)
            tokens = stream(model, params, state, max_tokens=_WINDOW + 1)
            next(tokens)  # with it everything is compiled and the prompt has been read
            begin = time.perf_counter()
            count = sum(1 for _ in tokens)
            rates[length].append(count / (time.perf_counter() - begin))
    first = float(np.median(rates[options.contexts[0]]))
    for length, measured in rates.items():
        rate = float(np.median(measured))
        spread = f"{min(measured):,.0f} to {max(measured):,.0f}"
        print(f"context {length:,}: {rate:,.0f} tokens/s ({spread}), {rate / first:.2f}x")


if __name__ == "__main__":
    main()
