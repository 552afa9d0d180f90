"""What bounds training speed on this machine: its two rates, and what one token needs.

    python -m benchmarks.floor

prints the rates as JSON.
"""

import json
import math
import time
from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.train.monitor import matmul_flops_per_second, training_flops_per_token
from mmrec_jax.tree import count, named_leaves

_COPIED = 2**25  # float32 numbers, 128 MiB: more than any cache holds
_REPEATS = 10
_BYTES = 4  # of a float32


def copy_bytes_per_second() -> float:
    """Bytes read plus bytes written by adding 1 to 128 MiB in place, best of ten."""
    x = jnp.zeros(_COPIED, jnp.float32)
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = add(x).block_until_ready()
    best = math.inf
    for _ in range(_REPEATS):
        start = time.perf_counter()
        x = add(x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2.0 * _COPIED * _BYTES / best


def abstract_parameters(config: MMRecConfig) -> Any:
    """The shapes of MM-Rec's parameters, without making them."""
    return jax.eval_shape(config.build().init, jax.random.key(0))


def training_bytes_per_token(params: Any, tokens: int) -> float:
    """Memory traffic that a step of `tokens` tokens cannot do without, by token, in float32.

    The three products of each matrix [m, n] (forward, and the gradients of its input and of itself)
    read or write m + n numbers a token each. The update, once a step, writes a gradient, reads it,
    and reads and writes a parameter and AdamW's two moments. Everything else counts as free.
    """
    numbers = 0.0
    for name, leaf in named_leaves(params).items():
        if name.rsplit("/", 1)[-1] in ("kernel", "embedding"):
            *layers, m, n = leaf.shape
            numbers += 3 * math.prod(layers) * (m + n)
        numbers += 8 * leaf.size / tokens
    return _BYTES * numbers


def floor(config: MMRecConfig, rates: dict[str, float], tokens: int) -> dict[str, float]:
    """Tokens/s if MM-Rec did nothing but its FLOPs, or nothing but its traffic, at those rates.

    Args:
      config: the model.
      rates: what this module prints.
      tokens: of a step.
    """
    params = abstract_parameters(config)
    flops = training_flops_per_token(config.build(), count(params), frozen=0, length=tokens)
    traffic = training_bytes_per_token(params, tokens)
    return {
        "flops_per_token": flops,
        "tokens_per_second_by_flops": rates["matmul_flops_per_second"] / flops,
        "bytes_per_token": traffic,
        "tokens_per_second_by_bytes": rates["copy_bytes_per_second"] / traffic,
    }


def main() -> None:
    """Measures the rates."""
    rates = {
        "matmul_flops_per_second": matmul_flops_per_second("float32"),
        "copy_bytes_per_second": copy_bytes_per_second(),
    }
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
