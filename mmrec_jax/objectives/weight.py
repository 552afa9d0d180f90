"""The weight of an objective in the loss, by step."""

from collections.abc import Callable

import jax.numpy as jnp

from mmrec_jax.objectives.config import Weight
from mmrec_jax.typing import Array


def weight_schedule(weight: Weight) -> Callable[[Array], float | Array]:
    """A number, or (step, weight) points with straight lines between them."""
    if isinstance(weight, int | float):
        return lambda step: float(weight)
    steps, weights = (jnp.asarray(column, jnp.float32) for column in zip(*weight, strict=True))
    return lambda step: jnp.interp(step.astype(jnp.float32), steps, weights)
