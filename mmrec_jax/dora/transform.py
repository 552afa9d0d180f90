"""Trees in, trees out: adapted weights, merging and its inverse."""

from typing import Any

import jax
import jax.numpy as jnp

from mmrec_jax.dora.adapter import (
    Adapter,
    Node,
    Rows,
    Whole,
    map_nodes,
    nodes,
    require_fit,
    with_whole,
)
from mmrec_jax.dora.kernel import column_norm, column_squares, magnitude_ratio, wide
from mmrec_jax.errors import UserError
from mmrec_jax.quantised import Quantised, dequantise
from mmrec_jax.tree import map_named, named_leaves, nested
from mmrec_jax.typing import Array


def apply(params: Any, adapters: Any, *, detach_norm: bool = True) -> Any:
    """The weights that the adapted model uses: W' of each adapted kernel, what is trained whole.

    The others are as they are.

    Computed in float32 at least and returned in the dtype of each parameter. DoRA's is written as
    `V (m / norm(V))`, so that W' = W exactly at the start. With `detach_norm` (section 4.3 of the
    paper) the norm is a constant to gradients. A quantised base is dequantised, layer by layer.

    Raises:
      UserError: the adapters do not fit the base.
    """
    require_fit(params, adapters)
    found = nodes(adapters)

    def adapted(leaf: Array | Quantised, node: Adapter | None) -> Array:
        if node is None:
            return dequantise(leaf)
        v = _direction(leaf, node)
        if node.m is not None:
            norm = column_norm(v)
            v = v * magnitude_ratio(node.m, jax.lax.stop_gradient(norm) if detach_norm else norm)
        return v.astype(leaf.dtype)

    def applied(name: str, leaf: Array | Quantised) -> Array:
        node = found.get(name)
        if isinstance(node, Rows):
            return with_rows(dequantise(leaf), node)
        own = node if isinstance(node, Adapter) else None
        if isinstance(leaf, Quantised) and leaf.ndim > 2:
            layers: Array = jax.lax.map(lambda pair: adapted(*pair), (leaf, own))
            return layers
        return adapted(leaf, own)

    return map_named(applied, with_whole(params, adapters))


def merge(params: Any, adapters: Any) -> tuple[Any, dict[str, Any]]:
    """The adapted weights, and what `unmerge` needs to take the adapters out again.

    Returns:
      `apply(params, adapters)`; and nested dicts with, of each adapted kernel, `norm(W + s A B)`
      `[*layers, 1, outputs]` in float32 at least, and of an embedding the rows and of what is
      trained whole the parameter that were replaced.
    """
    merged, leaves = apply(params, adapters), named_leaves(params)

    def kept(name: str, node: Node) -> Array | None:
        if isinstance(node, Whole):
            return leaves.get(name)
        if isinstance(node, Rows):
            return leaves[name][node.indices]
        return column_norm(_direction(leaves[name], node))

    return merged, map_nodes(kept, adapters)


def unmerge(merged: Any, adapters: Any, norms: Any) -> Any:
    """The base of a merged model, from what `merge` returned.

    W' alone keeps only the direction of W + s A B, so without the norms there is no way back. It
    reads the magnitudes of DoRA to refuse what cannot be undone: call it outside `jax.jit`.

    Raises:
      UserError: the adapters do not fit, or a magnitude is 0: that column of the merged kernel is
        zero and says nothing about the base.
      TypeError: the magnitudes or norms are tracers.
    """
    require_fit(merged, adapters)
    found, kept = nodes(adapters), named_leaves(norms)
    for name, node in found.items():
        if isinstance(node, Adapter) and node.m is not None:
            _require_direction(name, node.m, kept[name])

    def base(name: str, leaf: Array) -> Array | None:
        node = found.get(name)
        if node is None:
            return leaf
        if isinstance(node, Whole):
            return kept.get(name)  # None: the base had none
        if isinstance(node, Rows):
            return leaf.at[node.indices].set(kept[name].astype(leaf.dtype))
        v = leaf.astype(wide(leaf.dtype))
        if node.m is not None:
            v = v / magnitude_ratio(node.m, kept[name])
        return (v - node.scale * (node.a @ node.b)).astype(leaf.dtype)

    before = {name: base(name, leaf) for name, leaf in named_leaves(merged).items()}
    return nested({name: leaf for name, leaf in before.items() if leaf is not None})


def _require_direction(name: str, m: Array, norm: Array) -> None:
    if isinstance(m, jax.core.Tracer) or isinstance(norm, jax.core.Tracer):
        raise TypeError(f"{name}: unmerge reads the magnitudes; call it outside jax.jit")
    lost = int(jnp.sum((m == 0) & (norm > 0)))
    if lost:
        raise UserError(
            f"{name}: {lost} of {m.size} magnitudes are 0, so the merged columns are zero and the "
            "base cannot be recovered from them"
        )


def squares(params: Any, adapters: Any) -> dict[str, Any]:
    """|W|^2 of each column of each kernel with magnitudes, `[*layers, 1, outputs]`.

    What `intercept` needs of the base's norms: it does not change in training. Float32 at least.
    """
    leaves = named_leaves(params)

    def square(name: str, node: Node) -> Array | None:
        if not isinstance(node, Adapter) or node.m is None:
            return None
        return column_squares(leaves[name])

    return map_nodes(square, adapters)


def with_rows(embedding: Array, node: Rows) -> Array:
    """The embedding with the trained rows."""
    return embedding.at[node.indices].set(node.rows.astype(embedding.dtype))


def _direction(kernel: Array | Quantised, node: Adapter) -> Array:
    """V = W + s A B, float32 at least."""
    return dequantise(kernel, wide(kernel.dtype)) + node.scale * (node.a @ node.b)
