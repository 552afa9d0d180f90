"""The devices of a run and where arrays live on them."""

import contextlib
import os
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmrec_jax.config import Config, TrainConfig
from mmrec_jax.data.batch import DTYPES
from mmrec_jax.errors import UserError
from mmrec_jax.train.micro_batches import ROW_AXES
from mmrec_jax.train.state import TrainState
from mmrec_jax.train.step import Batch

_DEVICE_COUNT_FLAG = "xla_force_host_platform_device_count"


def split_cpu(config: TrainConfig) -> None:
    """Turns the CPU into one device a core, as far as the rows divide evenly; call it first.

    XLA then runs the rows side by side, which is faster than splitting each small operation over
    the cores. Nothing is changed where the number of CPU devices has been set from outside, or
    where JAX has started already; other kinds of devices are not touched. Each of several processes
    keeps one.
    """
    chosen = _DEVICE_COUNT_FLAG in os.environ.get("XLA_FLAGS", "")
    chosen |= jax.config.jax_num_cpu_devices != -1  # type: ignore[attr-defined]
    if chosen or jax.distributed.is_initialized():
        return
    rows = config.batch_size // config.accumulate
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    fitting = max(n for n in range(1, (cores or 1) + 1) if rows % n == 0)
    with contextlib.suppress(RuntimeError):  # JAX has started: it has its devices
        jax.config.update("jax_num_cpu_devices", config.devices or fitting)


def make_mesh(config: TrainConfig) -> Mesh:
    """A mesh with one axis, "data".

    Raises:
      UserError: more devices are asked for than there are, or the rows of a micro-batch do not
        divide evenly over them.
    """
    # Rows belong to processes in their order.
    available = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    count = config.devices or len(available)
    if count > len(available):
        raise UserError(f"config.train.devices is {count}; this machine has {len(available)}")
    if count < len(available) and jax.process_count() > 1:
        raise UserError(
            f"config.train.devices is {count}; {jax.process_count()} processes use all of their "
            f"{len(available)} devices: leave it out"
        )
    rows = config.batch_size // config.accumulate
    if rows % count:
        raise UserError(
            f"config.train.batch_size / accumulate is {rows}; it must be a multiple of the "
            f"{count} devices (or set config.train.devices)"
        )
    return Mesh(np.asarray(available[:count]), ("data",))


def memory_remedy(config: Config) -> str:
    """What to change in a run that does not fit into memory, with what is set now."""
    train, model = config.train, config.model
    devices = "all" if train.devices is None else train.devices
    return (
        f"lower config.train.batch_size ({train.batch_size}), raise config.train.accumulate "
        f'({train.accumulate}), set config.model.remat ("{model.remat}") to "full", lower '
        f"config.model.time_chunk ({model.time_chunk}), or spread the rows over a mesh of more "
        f"devices (config.train.devices: {devices})"
    )


def one_device() -> Mesh:
    """A mesh of the first device of this process alone."""
    return Mesh(np.asarray(jax.local_devices()[:1]), ("data",))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh) -> NamedSharding:
    """Axis 0, the batch, split over the data axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def state_shardings(mesh: Mesh, *, carry_state: bool) -> TrainState:
    """Where a `TrainState` lives: on every device, but a carried state with the rows it is of."""
    everywhere = replicated(mesh)
    carried = None
    if carry_state:
        axes = {0: by_row(mesh), 1: NamedSharding(mesh, PartitionSpec(None, "data"))}
        carried = jax.tree.map(axes.__getitem__, ROW_AXES)
    return TrainState(
        step=everywhere,  # type: ignore[arg-type]
        params=everywhere,
        opt_state=everywhere,
        key=everywhere,  # type: ignore[arg-type]
        carried=carried,
        base=everywhere,  # type: ignore[arg-type]
    )


def abstract_batch(config: Config, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes, dtypes and places of a run's batches, to compile for before there is one."""
    shape = config.train.batch_size, config.data.seq_len
    return {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=by_row(mesh))
        for name, dtype in DTYPES.items()
    }


def place_everywhere(tree: Any, mesh: Mesh) -> Any:
    """Arrays that every process has, whole on each device of the mesh."""
    sharding = replicated(mesh)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def place(array: jax.Array) -> jax.Array:
        on_host = np.asarray(array)
        return jax.make_array_from_callback(on_host.shape, sharding, on_host.__getitem__)

    return jax.tree.map(place, tree)


def place_whole_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """The rows of all processes, as every process has them, as one global array each."""
    sharding = by_row(mesh)
    return {
        name: jax.make_array_from_callback(rows.shape, sharding, rows.__getitem__)
        for name, rows in batch.items()
    }


def place_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """This process's rows of a batch as one global array each, split over the data axis."""
    sharding = by_row(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }
