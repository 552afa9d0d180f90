"""What memory a backend needs beside its inputs and outputs (values: `scan_test.py`)."""

import jax
import jax.numpy as jnp
import pytest

from mmrec_jax.models.mmrec.scan import linear_scan
from mmrec_jax.models.mmrec.scan_backends import CHUNK

BATCH, WIDTH = 2, 32


def temporary_bytes(backend: str, length: int, with_gradients: bool) -> int:
    def forward(a, b, h0):
        return linear_scan(a, b, h0, backend=backend)

    def gradients(a, b, h0, g, g_last):
        outputs, pull = jax.vjp(forward, a, b, h0)
        return outputs, pull((g, g_last))

    long = jax.ShapeDtypeStruct((BATCH, length, WIDTH), jnp.float32)
    one = jax.ShapeDtypeStruct((BATCH, WIDTH), jnp.float32)
    run, inputs = (
        (gradients, (long, long, one, long, one))
        if with_gradients
        else (
            forward,
            (long, long, one),
        )
    )
    return jax.jit(run).lower(*inputs).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("with_gradients", [False, True])
def test_memory_of_chunked_does_not_grow_with_time(with_gradients):
    """With gradients, one copy of the decays does: a_{t+1}, an input of the reversed scan."""
    lengths = 8 * CHUNK, 32 * CHUNK + 5
    short, long = (temporary_bytes("chunked", length, with_gradients) for length in lengths)
    shifted = 4 * BATCH * WIDTH * (lengths[1] - lengths[0]) if with_gradients else 0
    chunk = 4 * BATCH * WIDTH * CHUNK
    assert abs(long - short - shifted) <= 4 * chunk
    assert long - shifted <= 16 * chunk
