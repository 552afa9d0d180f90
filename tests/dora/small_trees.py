"""A small base, and adapters of it that have been trained at random."""

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax import dora
from tests.small_step import moved

ROWS = ((1, 2), (8, 8))


def rules(kind="dora"):
    """Every kernel, rows of the embedding, and a norm as it is."""
    return [*dora.all_linear(3, 5.0, kind), dora.RowRule(ROWS), dora.WholeRule("norm")]


def base(dtype=jnp.float32):
    """Random parameters."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape), dtype)

    blocks = {"out": {"kernel": draw(3, 6, 8)}, "norm": {"scale": draw(3, 6)}}
    return {"dense": {"kernel": draw(6, 5)}, "blocks": blocks, "embed": {"embedding": draw(9, 6)}}


def adapters(params, kind="dora"):
    """Adapters away from their start: every leaf has moved."""
    start = jax.jit(lambda params: dora.init(jax.random.key(1), params, rules(kind)))(params)
    return moved(jax.device_get(start), 0.3)


def adapted_columns(kernel, node):
    """W' and the norms `[*layers, 1, outputs]` in float64."""
    w, a, b = (np.asarray(x, np.float64) for x in (kernel, node.a, node.b))
    v = w + node.scale * np.einsum("...ir,...ro->...io", a, b)
    norms = np.sqrt(np.sum(v**2, axis=-2, keepdims=True))
    return (v if node.m is None else v * np.asarray(node.m, np.float64) / norms), norms
