"""Names of the leaves of a parameter tree, and trees of labels chosen by those names."""

from collections.abc import Callable
from typing import Any

import jax


def path_name(path: tuple[Any, ...]) -> str:
    """A leaf's path as one string: `blocks/ffn/down/kernel`."""
    return "/".join(
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path
    )


def map_named(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """`tree` with every leaf replaced by `function(name, leaf)`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: function(path_name(path), leaf), tree
    )


def leaf_names(tree: Any) -> list[str]:
    """Names of all leaves, in tree order."""
    return [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
