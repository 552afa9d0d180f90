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
        place = functools.reduce(lambda tree, key: tree.setdefault(key, {}), folders, params)
        place[last] = jnp.asarray(rng.normal(size=shape), dtype)
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
        place = []
        for kind in "lio":
            at = 0
            for (n, x), i in zip(axes, index, strict=True):
                at = at * n + i if x == kind else at
            place.append(at)
        flat[tuple(place)] = kernel[index]
    return flat


def adapted_columns(kernel, node):
    """`[layers, inputs, outputs]` of W' and `[layers, outputs]` of norms, in float64 by loops."""
    w = columns(kernel, node.layout)
    a = np.asarray(node.a, np.float64).reshape(len(w), w.shape[1], -1)
    b = np.asarray(node.b, np.float64).reshape(len(w), -1, w.shape[2])
    m = None if node.m is None else np.asarray(node.m, np.float64).reshape(len(w), w.shape[2])
    norms = np.zeros((len(w), w.shape[2]))
    for layer in range(len(w)):
        for o in range(w.shape[2]):
            for i in range(w.shape[1]):
                w[layer, i, o] += node.scale * sum(
                    a[layer, i, r] * b[layer, r, o] for r in range(a.shape[2])
                )
            norms[layer, o] = np.sqrt(sum(x * x for x in w[layer, :, o]))
            if m is not None:
                w[layer, :, o] *= m[layer, o] / norms[layer, o]
    return w, norms
