"""Random inputs of the scans, and their values and gradients beside those of the float64 loops."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.models.mmrec.loops import (
    Arrays,
    assert_close,
    gated_loop,
    gated_loop_gradient,
    linear_loop,
    linear_loop_gradient,
    relative_error,
)


def linear_inputs(rng: np.random.Generator, batch: int, length: int, width: int) -> Arrays:
    """Decays of both signs, from forgetting at once to remembering for a thousand tokens."""
    shape = (batch, length, width)
    sign = np.where(rng.random(shape) < 0.2, -1, 1)
    return {
        "a": sign * (1 - np.exp(rng.uniform(np.log(1e-3), 0, shape))),
        "b": rng.normal(size=shape),
        "h0": rng.normal(size=(batch, width)),
    }


def random_resets(rng: np.random.Generator, batch: int, length: int) -> list[np.ndarray]:
    """None, random ones, and one at the first and the last token."""
    edges = np.zeros((batch, length), bool)
    edges[:, [0, -1]] = True
    return [np.zeros((batch, length), bool), rng.random((batch, length)) < 0.1, edges]


def linear_loops(
    x: Arrays, reset: np.ndarray, g: np.ndarray, g_last: np.ndarray, reverse: bool = False
) -> tuple[np.ndarray, np.ndarray, Arrays]:
    """States, the last one, and the gradients of `sum(g h) + sum(g_last h_last)`."""
    h, h_last = linear_loop(**x, reset=reset, reverse=reverse)
    gradient = linear_loop_gradient(x["a"], x["h0"], reset, h, g, g_last, reverse=reverse)
    return h, h_last, gradient


def gated_loops(
    x: Arrays, reset: np.ndarray, g: np.ndarray, g_last: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Arrays]:
    """As `linear_loops`."""
    h = gated_loop(**x, reset=reset)
    return h, h[:, -1], gated_loop_gradient(x | {"reset": reset}, h, g, g_last)


def check(
    solve: Callable[..., Any],
    loops: Callable[..., Any],
    inputs: Arrays,
    resets: Sequence[np.ndarray],
    rng: np.random.Generator,
    dtype: Any = jnp.float32,
    tolerance: float = 1e-5,
) -> None:
    """Values and gradients of `solve` in `dtype` against the loops on the same numbers."""
    narrow = {name: np.asarray(x, dtype) for name, x in inputs.items()}
    exact = {name: np.float64(x) for name, x in narrow.items()}
    g = rng.normal(size=exact["b"].shape).astype(dtype)
    g_last = np.float32(rng.normal(size=exact["h0"].shape))

    @jax.jit
    def run(inputs, reset, g, g_last):
        outputs, pull = jax.vjp(lambda x: solve(**x, reset=reset)[:2], inputs)
        return outputs, pull((g, g_last))[0]

    for reset in resets:
        h, h_last, gradients = loops(exact, reset, np.float64(g), np.float64(g_last))
        (got_h, got_last), got = run(narrow, reset, g, g_last)
        assert (got_h.dtype, got_last.dtype) == (dtype, jnp.float32)
        assert relative_error(got_h, h) <= tolerance
        assert relative_error(got_last, h_last) <= 1e-5
        assert_close(got, gradients, tolerance)
