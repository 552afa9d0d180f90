"""Kernels of every layout the model or Flax has, and adapters that have been trained at random."""

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax import dora
from mmrec_jax.dora.adapter import nested
from tests.small_step import moved

# name: shape, layout
KERNELS = {
    "dense/kernel": ((6, 5), "io"),
    "join/kernel": ((2, 3, 5), "iio"),
    "turned/kernel": ((5, 6), "oi"),
    "blocks/heads/kernel": ((3, 6, 2, 4), "lioo"),
}
VOCABULARY, WIDTH = 9, 6
ROWS = ((1, 2), (8, 8))


def rules(kind="dora"):
    """A rule for each kernel, and the rows of the embedding."""
    kernels = [
        dora.AdapterRule(f"^{name}$", 3, 5.0, kind, axes=layout)
        for name, (_, layout) in KERNELS.items()
    ]
    return [*kernels, dora.RowRule(ROWS)]


def base(dtype=jnp.float32):
    """Random parameters."""
    rng = np.random.default_rng(0)
    shapes = {name: shape for name, (shape, _) in KERNELS.items()}
    shapes |= {"embed/embedding": (VOCABULARY, WIDTH), "blocks/norm/scale": (3, WIDTH)}
    return nested({n: jnp.asarray(rng.normal(size=shape), dtype) for n, shape in shapes.items()})


def adapters(params, kind="dora"):
    """Adapters away from their start: every leaf has moved."""
    start = jax.jit(lambda params: dora.init(jax.random.key(1), params, rules(kind)))(params)
    return moved(jax.device_get(start), 0.3)


def columns(kernel, layout):
    """The kernel as float64 `[layers, inputs, outputs]`, by loops over its indices."""
    kernel = np.asarray(kernel, np.float64)
    axes = list(zip(kernel.shape, layout, strict=True))
    flat = np.zeros([int(np.prod([n for n, x in axes if x == kind])) for kind in "lio"])
    for index in np.ndindex(kernel.shape):
        target = []
        for kind in "lio":
            offset = 0
            for (n, x), i in zip(axes, index, strict=True):
                offset = offset * n + i if x == kind else offset
            target.append(offset)
        flat[tuple(target)] = kernel[index]
    return flat


def adapted_columns(kernel, node):
    """`[layers, inputs, outputs]` of W' and `[layers, 1, outputs]` of norms, in float64."""
    w = columns(kernel, node.layout)
    a, b, m = (
        None if x is None else np.asarray(x, np.float64).reshape(len(w), *x.shape[-2:])
        for x in (node.a, node.b, node.m)
    )
    v = w + node.scale * np.einsum("lir,lro->lio", a, b)
    norms = np.sqrt(np.sum(v**2, axis=1, keepdims=True))
    return (v if m is None else v * m / norms), norms
