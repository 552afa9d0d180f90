"""What a model that knows no mesh may ask of the one in use (`jax.set_mesh`)."""

import math

import jax
from jax.sharding import PartitionSpec

from mmrec_jax.typing import Array

ROWS = ("fsdp", "data")  # the mesh axes that a batch is split over


def split_rows(x: Array) -> Array:
    """Activations [B, ...] whose rows are split and whose other axes are whole on each device.

    Without it the compiler may split the width instead, as it finds the parameters split, and then
    moves whole activations between layers. Outside a mesh (`jax.set_mesh`) nothing is done, nor
    where other axes than those of the rows are in use: XLA's partitioner (jaxlib 0.10.2) mixes up
    the rows of microbatches there, with no error.
    """
    sizes = jax.sharding.get_abstract_mesh().shape
    rows = tuple(name for name in ROWS if name in sizes)
    if not rows or any(size > 1 for name, size in sizes.items() if name not in ROWS):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(rows))


def device_kind() -> tuple[str, str]:
    """Kind and platform of the devices that are computed for, such as ("nvidia h200", "gpu").

    Those of the mesh in use, which need not be here: a program may be compiled for other devices.
    Outside a mesh those of the default device.
    """
    device = jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0]
    kind = device.device_kind.lower()
    # Those of a mesh do not name their platform before jax 0.10.1; the kinds of all but GPUs do.
    platform = next((name for name in ("cpu", "tpu") if kind.startswith(name)), "gpu")
    return kind, platform


def row_parts() -> int:
    """How many parts the rows of a batch are split into; 1 outside a mesh."""
    sizes = jax.sharding.get_abstract_mesh().shape
    return math.prod(sizes.get(name, 1) for name in ROWS)
