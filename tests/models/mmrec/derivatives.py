"""What a gradient rule of our own owes to JAX's transformations, and gradients by differences."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.models.mmrec.loops import assert_close

Loss = Callable[[dict[str, jax.Array]], jax.Array]


def assert_gradient(
    loss: Callable[[Any], jax.Array],
    point: Any,
    rng: np.random.Generator,
    step: float,
    tolerance: float,
) -> None:
    """The gradient of each leaf, along a random direction, is the central difference of `loss`."""
    loss = jax.jit(loss)
    gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(point))
    leaves, structure = jax.tree.flatten(point)
    for i, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        direction = rng.normal(size=leaf.shape)
        ends = [[*leaves[:i], leaf + s * direction, *leaves[i + 1 :]] for s in (step, -step)]
        ahead, behind = (float(loss(jax.tree.unflatten(structure, end))) for end in ends)
        finite = (ahead - behind) / (2 * step)
        assert abs(finite) > 1e-5
        np.testing.assert_allclose(np.vdot(gradient, direction), finite, rtol=tolerance)


def assert_second_order(
    loss: Loss, point: dict[str, Any], rng: np.random.Generator, step: float, tolerance: float
) -> None:
    """Reverse over reverse is the central difference of gradients; double precision."""
    direction = {name: jnp.asarray(rng.normal(size=x.shape)) for name, x in point.items()}
    gradient = jax.jit(jax.grad(loss))

    def along(inputs: dict[str, jax.Array]) -> jax.Array:
        return sum(jnp.vdot(x, direction[n]) for n, x in jax.grad(loss)(inputs).items())

    product = jax.jit(jax.grad(along))(point)
    plus, minus = (
        gradient({n: x + s * direction[n] for n, x in point.items()}) for s in (step, -step)
    )
    finite = {n: (plus[n] - minus[n]) / (2 * step) for n in point}
    assert_close(product, finite, tolerance)


def assert_vmap_and_checkpoint_change_nothing(loss: Loss, points: list[dict[str, Any]]) -> None:
    """Value and gradient at each of two points, alone, and side by side with a checkpoint."""
    points = [{name: np.float32(x) for name, x in point.items()} for point in points]
    both = jax.tree.map(lambda *x: np.stack(x), *points)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(jax.checkpoint(loss))))(both)
    plain = jax.jit(jax.value_and_grad(loss))
    for i, point in enumerate(points):
        value, gradient = plain(point)
        assert_close(values[i], value, 1e-6)
        assert_close({name: x[i] for name, x in gradients.items()}, gradient, 1e-6)
