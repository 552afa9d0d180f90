"""Gradient rules of our own must be differentiable themselves: a check by differences."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from tests.models.mmrec.loops import assert_close


def assert_second_order(
    loss: Callable[[dict[str, jax.Array]], jax.Array],
    point: dict[str, jax.Array],
    direction: dict[str, jax.Array],
    step: float,
    tolerance: float,
) -> None:
    """Reverse over reverse at `point` along `direction` is the central difference of gradients."""
    gradient = jax.jit(jax.grad(loss))

    def along(inputs: dict[str, jax.Array]) -> jax.Array:
        return sum(jnp.vdot(x, direction[n]) for n, x in jax.grad(loss)(inputs).items())

    product = jax.jit(jax.grad(along))(point)
    plus, minus = (
        gradient({n: x + s * direction[n] for n, x in point.items()}) for s in (step, -step)
    )
    finite = {n: (plus[n] - minus[n]) / (2 * step) for n in point}
    assert_close(product, finite, tolerance)
