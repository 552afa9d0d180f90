"""Kernels of every layout the model or Flax has, and adapters that have been trained at random."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mmrec_jax import dora

# name: shape, layout
KERNELS = {
    "dense/kernel": ((6, 5), "io"),
    "join/kernel": ((2, 3, 5), "iio"),
    "turned/kernel": ((5, 6), "oi"),
    "blocks/heads/kernel": ((3, 6, 2, 4), "lioo"),
}
VOCABULARY, WIDTH = 9, 6
ROWS = ((1, 2), (8, 8))


def rules(kind="dora", rank=3, alpha=5.0):
    """A rule for each kernel, and the rows of the embedding."""
    return [
        *(
            dora.AdapterRule(f"^{name}$", rank, alpha, kind, axes=layout)
            for name, (_, layout) in KERNELS.items()
        ),
        dora.RowRule(ROWS),
    ]


def base(dtype=jnp.float32, seed=0):
    """Random parameters."""
    rng = np.random.default_rng(seed)
    shapes = {name: shape for name, (shape, _) in KERNELS.items()}
    shapes |= {"embed/embedding": (VOCABULARY, WIDTH), "blocks/norm/scale": (3, WIDTH)}
    params = {}
    for name, shape in shapes.items():
        *folders, last = name.split("/")
        branch = functools.reduce(lambda tree, key: tree.setdefault(key, {}), folders, params)
        branch[last] = jnp.asarray(rng.normal(size=shape), dtype)
    return params


def adapters(params, kind="dora", seed=1, **changes):
    """Adapters away from their start: every leaf has moved."""
    made = tuple(rules(kind, **changes))
    start = jax.jit(lambda params: dora.init(jax.random.key(seed), params, made))(params)
    rng = np.random.default_rng(seed)

    def move(leaf):
        return np.asarray(leaf) + 0.3 * rng.normal(size=leaf.shape).astype(leaf.dtype)

    return jax.tree.map(move, start)


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
