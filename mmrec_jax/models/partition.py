"""Where activations lie on a mesh, said inside a model that knows no mesh."""

import jax
from jax.sharding import PartitionSpec

from mmrec_jax.typing import Array

ROWS = ("data", "fsdp")  # the mesh axes that a batch is split over


def split_rows(x: Array) -> Array:
    """Activations [B, ...] whose rows are split and whose other axes are whole on each device.

    Without it the compiler may split the width instead, as it finds the parameters split, and then
    moves whole activations between layers. Outside a mesh (`jax.set_mesh`) nothing is done.
    """
    axes = jax.sharding.get_abstract_mesh().axis_names
    rows = tuple(name for name in ROWS if name in axes)
    return jax.lax.with_sharding_constraint(x, PartitionSpec(rows)) if rows else x
