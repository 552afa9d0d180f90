"""Trees of arrays: names of their leaves, functions of those names, sizes.

A `Quantised` matrix is one leaf, named as the matrix is; of a tree without any all is as in JAX.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.traverse_util
import jax

from mmrec_jax.quantised import Quantised


def path_name(path: tuple[Any, ...]) -> str:
    """A leaf's path as one string: `blocks/ffn/down/kernel`."""
    return "/".join(
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path
    )


def map_named(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """`tree` with every leaf replaced by `function(name, leaf)`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: function(path_name(path), leaf), tree, is_leaf=_is_leaf
    )


def named_leaves(tree: Any) -> dict[str, Any]:
    """Leaf by path, in tree order."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_leaf)
    return {path_name(path): leaf for path, leaf in leaves}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a/b": x}` as `{"a": {"b": x}}`."""
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def _is_leaf(x: Any) -> bool:
    return isinstance(x, Quantised)


def count(tree: Any) -> int:
    """Numbers in all leaves."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree, is_leaf=_is_leaf))


def num_bytes(tree: Any) -> int:
    """Bytes of all leaves."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
