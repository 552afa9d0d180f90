"""Trees of adapters: what is trained, and for which parameters."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from mmrec_jax.dora.kernel import column_norm, wide
from mmrec_jax.dora.rules import (
    AdapterRule,
    RowRule,
    Rule,
    WholeRule,
    choose_kernels,
    choose_tables,
    choose_whole,
)
from mmrec_jax.errors import UserError
from mmrec_jax.tree import named_leaves, nested, path_name
from mmrec_jax.typing import Array


@flax.struct.dataclass
class Adapter:
    """The adapter of one kernel `[*layers, inputs, outputs]`; float32 at least."""

    a: Array  # [*layers, inputs, rank]
    b: Array  # [*layers, rank, outputs]
    m: Array | None  # [*layers, 1, outputs], the magnitudes; None: LoRA
    scale: float = flax.struct.field(pytree_node=False)  # s


@flax.struct.dataclass
class Rows:
    """Rows of an embedding that replace the frozen ones."""

    rows: Array  # [N, D]
    ranges: tuple[tuple[int, int], ...] = flax.struct.field(pytree_node=False)

    @property
    def indices(self) -> np.ndarray:
        """Of the rows in the embedding: [N]."""
        return np.concatenate([np.arange(first, last + 1) for first, last in self.ranges])


@flax.struct.dataclass
class Whole:
    """A parameter that is trained as it is; a base may lack it."""

    value: Array


Node = Adapter | Rows | Whole


def init(key: Array, params: Any, rules: Sequence[Rule]) -> dict[str, Any]:
    """Adapters at which the model is unchanged: B = 0, m = norm(W), rows and wholes as they are.

    A is uniform in +-1 / sqrt(inputs) (Kaiming, as LoRA has it). What a kernel gets depends on the
    key and its own path alone. `params`, the base, and the result are nested dicts, the latter with
    a `Node` for each adapted parameter. What is trained whole has no adapter besides.

    Raises:
      UserError: a rule matches nothing or does not fit.
    """
    leaves = named_leaves(params)
    made: dict[str, Node] = {}
    for name, whole in choose_whole(leaves, rules).items():
        made[name] = Whole(trained(leaves[name], whole))
    for name, rule in choose_kernels(leaves, rules).items():
        own = jax.random.fold_in(key, zlib.crc32(name.encode()))
        made[name] = _start(own, leaves[name], rule)
    for rows_rule in rules:
        if isinstance(rows_rule, RowRule):
            for name in choose_tables(leaves, rows_rule):
                if name in made:
                    raise UserError(f"{name} has two rules")
                empty = Rows(rows=jnp.zeros(0), ranges=rows_rule.ranges)
                rows = trained(leaves[name][empty.indices], rows_rule)
                made[name] = dataclasses.replace(empty, rows=rows)
    return nested(made)


def trained(leaf: Array, rule: RowRule | WholeRule) -> Array:
    """In the dtype that it is trained in."""
    return leaf.astype(rule.dtype or wide(leaf.dtype))


def _start(key: Array, kernel: Array, rule: AdapterRule) -> Adapter:
    *layers, inputs, outputs = kernel.shape
    dtype, bound = wide(kernel.dtype), inputs**-0.5
    return Adapter(
        a=jax.random.uniform(key, (*layers, inputs, rule.rank), dtype, -bound, bound),
        b=jnp.zeros((*layers, rule.rank, outputs), dtype),
        m=column_norm(kernel) if rule.kind == "dora" else None,
        scale=rule.scale,
    )


def nodes(adapters: Any) -> dict[str, Node]:
    """Path of the adapted parameter to its node, in tree order."""
    found = jax.tree_util.tree_leaves_with_path(adapters, is_leaf=lambda x: isinstance(x, Node))
    return {path_name(path): node for path, node in found}


def map_nodes(function: Callable[[str, Node], Any], adapters: Any) -> dict[str, Any]:
    """Nested dicts of `function(path, node)`; what is None is left out."""
    results = {name: function(name, node) for name, node in nodes(adapters).items()}
    return nested({name: value for name, value in results.items() if value is not None})


def with_whole(params: Any, adapters: Any) -> Any:
    """The base with what is trained whole: in its dtype where it replaces a parameter."""
    leaves = named_leaves(params)
    for name, node in nodes(adapters).items():
        if isinstance(node, Whole):
            dtype = leaves[name].dtype if name in leaves else node.value.dtype
            leaves[name] = node.value.astype(dtype)
    return nested(leaves)


def require_fit(params: Any, adapters: Any) -> None:
    """Refuses adapters that were made for other kernels.

    Raises:
      UserError: naming the first parameter that is not there or has another shape.
    """
    leaves = named_leaves(params)
    for name, node in nodes(adapters).items():
        if name not in leaves:
            if isinstance(node, Whole):
                continue
            raise UserError(f"the adapters belong to another base: it has no parameter {name}")
        shape = tuple(leaves[name].shape)
        if not _fits(node, shape):
            raise UserError(
                f"the adapters belong to another base: {name} is {list(shape)} here, and they are "
                f"{', '.join(str(list(x.shape)) for x in jax.tree.leaves(node))}"
            )


def _fits(node: Node, shape: tuple[int, ...]) -> bool:
    if isinstance(node, Whole):
        return node.value.shape == shape
    if isinstance(node, Rows):
        inside = all(last < shape[0] for _, last in node.ranges)
        return inside and node.rows.shape == (len(node.indices), *shape[1:])
    if len(shape) < 2:
        return False
    *layers, inputs, outputs = shape
    rank = node.a.shape[-1]
    fits = node.a.shape == (*layers, inputs, rank) and node.b.shape == (*layers, rank, outputs)
    return fits and (node.m is None or node.m.shape == (*layers, 1, outputs))


def partition_specs(adapters: Any, kernel_specs: Mapping[str, PartitionSpec]) -> dict[str, Any]:
    """How adapters lie on a mesh, beside the kernels that they adapt.

    A has the kernel's spec along its inputs, B and m along its outputs, all along its axis of
    layers. The rank and rows of an embedding are whole on every device; what is trained whole lies
    as it does in the base.

    Args:
      adapters: what `init` made, or its `jax.eval_shape`.
      kernel_specs: path of each adapted parameter to its spec.

    Returns:
      A tree like `adapters` of `PartitionSpec`s.
    """

    def specs(name: str, node: Node) -> Any:
        if isinstance(node, Rows):
            return _with(node, rows=PartitionSpec())
        if isinstance(node, Whole):
            return _with(node, value=kernel_specs[name])
        kernel = kernel_specs[name]
        axes: list[Any] = [*kernel, *[None] * (len(node.a.shape) - len(kernel))]
        *layers, inputs, outputs = axes
        beside = PartitionSpec(*layers, None, outputs)
        m = None if node.m is None else beside
        return _with(node, a=PartitionSpec(*layers, inputs, None), b=beside, m=m)

    return map_nodes(specs, adapters)


def _with(node: Any, **specs: PartitionSpec | None) -> Any:
    """The node with specs in place of its arrays."""
    return dataclasses.replace(node, **specs)
