"""What benchmarks of speed train on: random tokens, and the cross-entropy alone."""

from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]
_SEED = 0


def random_batch(rows: int, length: int, vocab_size: int) -> Batch:
    """Random tokens, the same ones every time; every row is one document."""
    tokens = np.random.default_rng(_SEED).integers(0, vocab_size, (rows, length + 1), np.int32)
    return {
        "inputs": np.ascontiguousarray(tokens[:, :-1]),
        "targets": np.ascontiguousarray(tokens[:, 1:]),
        "weights": np.ones((rows, length), np.float32),
        "segment_ids": np.ones((rows, length), np.int32),
    }


def plain_objectives(chunk: int | None = None) -> dict[str, Any]:
    """What a training step minimises where nothing but its cost is asked for.

    `chunk` is `config.objectives.cross_entropy.chunk`.
    """
    # Not above: processes that measure torch have no JAX.
    from mmrec_jax.objectives.config import CrossEntropyConfig
    from mmrec_jax.objectives.cross_entropy import CrossEntropy

    return {"cross_entropy": CrossEntropy(CrossEntropyConfig(chunk=chunk))}
