"""How adapters lie on a mesh: beside the kernels that they adapt."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax.sharding import PartitionSpec

from mmrec_jax.dora.adapter import Adapter, Node, Rows, map_nodes


def partition_specs(adapters: Any, kernel_specs: Mapping[str, PartitionSpec]) -> dict[str, Any]:
    """A tree like `adapters` of the `PartitionSpec` of each leaf.

    A has the kernel's spec along its inputs, B and m along its outputs, all along its axes of
    layers. The rank is whole on every device; so are inputs (outputs) that several axes of the
    kernel are flattened to, and rows of an embedding.

    Args:
      adapters: what `dora.init` made, or its `jax.eval_shape`.
      kernel_specs: path of each adapted parameter to its spec.
    """

    def specs(name: str, node: Node) -> Node:
        if isinstance(node, Rows):
            return _with(node, rows=PartitionSpec())
        return _beside(node, kernel_specs[name])

    return map_nodes(specs, adapters)


def squares_specs(specs: Any) -> dict[str, Any]:
    """A tree like `dora.squares(params, adapters)`, from the `partition_specs` of the adapters."""
    return map_nodes(lambda _, node: None if isinstance(node, Rows) else node.m, specs)


def _beside(node: Adapter, kernel: PartitionSpec) -> Adapter:
    axes = (*kernel, *[None] * (len(node.layout) - len(kernel)))
    of = {kind: [x for x, y in zip(axes, node.layout, strict=True) if y == kind] for kind in "lio"}
    inputs, outputs = (of[kind][0] if len(of[kind]) == 1 else None for kind in "io")
    along_outputs = PartitionSpec(*of["l"], None, outputs)
    return _with(
        node,
        a=PartitionSpec(*of["l"], inputs, None),
        b=along_outputs,
        m=None if node.m is None else along_outputs,
    )


def _with(node: Any, **specs: PartitionSpec | None) -> Any:
    """The node with specs in place of its arrays."""
    return dataclasses.replace(node, **specs)
