"""Where hand-written kernels run: the devices and meshes that take them, and each device's rows.

A kernel is a Pallas program with two lowerings, Mosaic for TPUs and Triton for NVIDIA cards. What
has none here is computed by plain JAX: other devices, double precision, meshes that split more than
rows. The choice is made while a program is traced, for the devices of the mesh in use.
"""

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from mmrec_jax.models.partition import ROWS, device_kind


@dataclasses.dataclass(frozen=True)
class KernelTarget:
    """What kernels are written for."""

    platform: Literal["tpu", "gpu"]
    interpret: bool = False  # run by JAX, operation by operation, on whatever device there is


# XLA compiles Triton from compute capability 8.0 on; these names are of older cards.
_OLD_CARD = re.compile(r"tesla|titan|quadro|gtx|rtx 20\d\d")

_chosen: ContextVar[KernelTarget | Literal["auto"] | None] = ContextVar("_chosen", default="auto")


@contextlib.contextmanager
def kernels_for(target: KernelTarget | None) -> Iterator[None]:
    """What is traced inside takes kernels for `target`, or none (None), whatever the devices are.

    For tests, with `interpret`, and for comparisons. A program that was traced before keeps what it
    has: `jax.jit` does not see this.
    """
    token = _chosen.set(target)
    try:
        yield
    finally:
        _chosen.reset(token)


def kernel_target(dtype: Any, rows: int) -> KernelTarget | None:
    """The kernels to use for an accumulation in `dtype` over a batch of `rows`; None: plain JAX.

    Only float32 has kernels, on TPUs and on NVIDIA cards from Ampere on. Of a mesh's axes those
    that are not split by hand already (`jax.shard_map`) may only split rows, and evenly.
    """
    target = _chosen.get()
    if target == "auto":
        kind, platform = device_kind()
        target = None
        if platform == "tpu":
            target = KernelTarget("tpu")
        elif platform in ("gpu", "cuda") and "nvidia" in kind and not _OLD_CARD.search(kind):
            target = KernelTarget("gpu")
    sizes = _free_axes(jax.sharding.get_abstract_mesh())
    others = [size for name, size in sizes.items() if name not in ROWS]
    parts = math.prod(size for name, size in sizes.items() if name in ROWS)
    if dtype != jnp.float32 or math.prod(others) > 1 or rows % parts:
        return None
    return target


def on_each_device(function: Callable[..., Any], rows: Any, whole: Any = ()) -> Any:
    """`function(*rows, *whole)`, by each device for its own rows of the batch.

    A compiler cannot split a kernel as it does other operations. Arrays of `rows` and of the result
    are [B, ...]; those of `whole` are the same for all rows. It is never differentiated.
    """
    mesh = jax.sharding.get_abstract_mesh()
    free = _free_axes(mesh)
    if not free or mesh.size == 1:
        return function(*rows, *whole)
    split = PartitionSpec(tuple(name for name in ROWS if name in free))
    specs = (*(split for _ in rows), *(PartitionSpec() for _ in whole))
    return jax.shard_map(
        function, in_specs=specs, out_specs=split, axis_names=set(free), check_vma=False
    )(*rows, *whole)


def _free_axes(mesh: AbstractMesh) -> dict[str, int]:
    """The axes that the compiler splits over, with their sizes."""
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return {name: mesh.shape[name] for name, kind in kinds if kind != AxisType.Manual}
