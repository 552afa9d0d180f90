"""The devices of a run, and how arrays are sharded over them.

The axes of a mesh: rows of a batch are split over "data" and "fsdp"; parameters, and what the
optimizer keeps of them, over "fsdp" and "tensor", as the model family's table says
(`LanguageModel.partition_specs`). Everything else is on every device. In the training step the
devices of the axis "sequence" share the tokens of each row (`models/sequence.py`); between steps
they keep parts of what "fsdp" splits.
"""

import contextlib
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from mmrec_jax.config import Config, MeshConfig
from mmrec_jax.data.batch import DTYPES
from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel
from mmrec_jax.models.partition import ROWS
from mmrec_jax.objectives.api import Batch
from mmrec_jax.stages import staged
from mmrec_jax.train.state import TrainState, joined
from mmrec_jax.tree import map_named, named_leaves

# In the order of the devices, so that neighbours share a "tensor". "fsdp" comes before "data": the
# other way round XLA's partitioner (jaxlib 0.10.2) mixes up rows where all three axes are used and
# a device has one row, and the loss is wrong without a word.
AXES = ("fsdp", "data", "sequence", "tensor")
_NAMES = ("data", "fsdp", "tensor", "sequence")  # as `config.mesh` has them
_DEVICE_COUNT_FLAG = "xla_force_host_platform_device_count"


def split_cpu(config: Config) -> None:
    """Turns the CPU into one device per core, as far as the rows divide evenly; call it first.

    XLA then runs the rows side by side, which is faster than splitting each small operation over
    the cores. Nothing is changed where the number of CPU devices has been set from outside, or
    where JAX has started already; other kinds of devices are not touched. Each of several processes
    keeps one.
    """
    chosen = _DEVICE_COUNT_FLAG in os.environ.get("XLA_FLAGS", "")
    chosen |= jax.config.jax_num_cpu_devices != -1  # type: ignore[attr-defined]
    if chosen or jax.distributed.is_initialized():
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    rows = math.gcd(*(each.train.microbatch_rows for _, each in staged(config)))
    sizes, fixed = _sizes(config.mesh)
    multiples = range(fixed, max(cores or 1, fixed) + 1, fixed) if -1 in sizes else [fixed]
    of_row = config.mesh.tensor * config.mesh.sequence
    fitting = [n for n in multiples if rows % max(n // of_row, 1) == 0]
    with contextlib.suppress(RuntimeError):  # JAX has started: it has its devices
        count = config.train.devices or max(fitting, default=fixed)
        jax.config.update("jax_num_cpu_devices", count)


def make_mesh(config: Config) -> Mesh:
    """The mesh of `config.mesh` over the run's devices.

    Raises:
      UserError: there are too few devices for it, they do not divide evenly, or the rows of a
        microbatch do not divide over them.
    """
    train, processes = config.train, jax.process_count()
    # Rows belong to processes in their order.
    available = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    count = train.devices or len(available)
    if count < len(available) and processes > 1:
        raise UserError(
            f"config.train.devices is {count}; {processes} processes use all of their "
            f"{len(available)} devices: leave it out"
        )
    mesh = mesh_over(config, available)
    of_row = mesh.shape["tensor"] * mesh.shape["sequence"]
    if count // processes % of_row:
        raise UserError(
            f"config.mesh.tensor x mesh.sequence is {of_row}; it must be a divisor of the "
            f"{count // processes} devices of a process"
        )
    return mesh


def mesh_over(config: Config, available: Sequence[jax.Device]) -> Mesh:
    """The mesh of `config.mesh` over these devices, or the first `train.devices` of them.

    Raises:
      UserError: as `make_mesh`.
    """
    train = config.train
    count = train.devices or len(available)
    if count > len(available):
        raise UserError(f"config.train.devices is {count}; there are {len(available)} here")
    shape = mesh_shape(config.mesh, count)
    for where, each in staged(config):
        rows = each.train.microbatch_rows
        if rows % (shape[0] * shape[1]):
            raise UserError(
                f"{where}config.train.batch_size / accumulate is {rows}; it must be a multiple of "
                f"{shape[0] * shape[1]}, mesh.data x mesh.fsdp of the {count} devices (or set "
                "config.train.devices)"
            )
    mesh = arrange(available, *shape)
    check_shared_rows(config, mesh)
    return mesh


def check_shared_rows(config: Config, mesh: Mesh) -> None:
    """Refuses what devices that share a row (`models/sequence.py`) cannot do.

    Raises:
      UserError: names the field.
    """
    parts = mesh.shape["sequence"]
    if parts == 1:
        return
    where = f"config.mesh.sequence is {parts}"
    for stage, each in staged(config):
        if each.data.seq_len % parts:
            raise UserError(
                f"{stage}{where}; it must be a divisor of config.data.seq_len, {each.data.seq_len}"
            )
    # XLA's partitioner (jaxlib 0.10.2) aborts the process where two other axes are used.
    if sum(mesh.shape[name] > 1 for name in ("data", "fsdp", "tensor")) > 1:
        raise UserError(f"{where}; of config.mesh.data, fsdp and tensor one may be above 1 then")
    model = config.model
    able = {f"objectives.{name}": one.by_token for name, one in config.objectives.items()}
    able[f"model.family {model.family!r}"] = model.row_block(1) is not None
    able["noise.alpha"] = not config.noise.alpha
    able[f"optim.name {config.optim.name!r}"] = not config.optim.uses_hessian
    for name, is_able in able.items():
        if not is_able:
            raise UserError(
                f"{where}; config.{name} needs whole rows on each device: set mesh.sequence to 1, "
                "or do without it"
            )


def arrange(
    devices: Sequence[jax.Device], data: int = 1, fsdp: int = 1, tensor: int = 1, sequence: int = 1
) -> Mesh:
    """The mesh of the first devices with axes of these sizes."""
    used = np.asarray(devices[: data * fsdp * sequence * tensor])
    return Mesh(used.reshape(fsdp, data, sequence, tensor), AXES)


def mesh_shape(config: MeshConfig, count: int) -> tuple[int, int, int, int]:
    """The sizes of the axes over `count` devices; `UserError` if they do not multiply to it."""
    sizes, fixed = _sizes(config)
    if count % fixed or (-1 not in sizes and count != fixed):
        shown = " x ".join(f"{name} {size}" for name, size in zip(_NAMES, sizes, strict=True))
        raise UserError(
            f"config.mesh is {shown}, which {count} device(s) cannot be divided into; set "
            "config.mesh.data=-1, other sizes, or config.train.devices"
        )
    data, fsdp, tensor, sequence = (count // fixed if size == -1 else size for size in sizes)
    return data, fsdp, tensor, sequence


def _sizes(config: MeshConfig) -> tuple[tuple[int, int, int, int], int]:
    """As the config has them; and the product of those that are fixed."""
    sizes = config.data, config.fsdp, config.tensor, config.sequence
    return sizes, math.prod(size for size in sizes if size != -1)


def memory_remedy(config: Config) -> str:
    """What to change in a run that does not fit into memory, with what is set now."""
    train, mesh = config.train, config.mesh
    parts = [
        f"lower config.train.batch_size ({train.batch_size})",
        f"raise config.train.accumulate ({train.accumulate})",
    ]
    for name, least in config.model.memory_fields:
        now = getattr(config.model, name)
        if least is None:
            parts.append(f"lower config.model.{name} ({now})")
        elif now != least:
            parts.append(f"set config.model.{name} ({now}) to {least}")
    split = ", ".join(f"{name} {getattr(mesh, name)}" for name in _NAMES)
    return f"{', '.join(parts)}, or split over more devices with config.mesh ({split})"


def one_device() -> Mesh:
    """A mesh of the first device of this process alone."""
    return arrange(jax.local_devices())


def first_device() -> SingleDeviceSharding:
    """The whole array on the first device of this process."""
    return SingleDeviceSharding(jax.local_devices()[0])


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def by_row(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The axis of the batch's rows, split."""
    return NamedSharding(mesh, PartitionSpec(*(None,) * axis, ROWS))


def row_devices(mesh: Mesh) -> int:
    """How many parts a batch is split into."""
    return math.prod(mesh.shape[name] for name in ROWS)


def shardings(tree: Any, specs: Any, mesh: Mesh | None) -> Any:
    """The sharding of each array of a tree: its spec, whole along an axis that does not divide.

    None: the first device.
    """
    return jax.tree.map(
        lambda leaf, spec: _fitted(spec, leaf.shape, mesh) if mesh else first_device(),
        tree,
        specs,
        is_leaf=lambda x: isinstance(x, PartitionSpec),
    )


def _fitted(spec: PartitionSpec, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    def parts(names: str | tuple[str, ...] | None) -> int:
        names = names if isinstance(names, tuple) else (names,) if names else ()
        return math.prod(mesh.shape[name] for name in names)

    share = ("fsdp", "sequence") if mesh.shape["sequence"] > 1 else "fsdp"
    spread = [share if names == "fsdp" else names for names in spec]
    kept = [
        names if size % parts(names) == 0 else None
        for names, size in zip(spread, shape, strict=False)
    ]
    return NamedSharding(mesh, PartitionSpec(*kept))


def state_shardings(state: TrainState, model: LanguageModel, mesh: Mesh) -> TrainState:
    """Shardings of a `TrainState` (of arrays, or of their shapes and dtypes): a tree like it."""
    everywhere = replicated(mesh)
    params = shardings(state.params, model.partition_specs(state.params), mesh)
    own = jax.tree.map(lambda x: _fitted(_matrix_spec(x.ndim), x.shape, mesh), state.objectives)
    trained = named_leaves(joined(state.params, state.objectives))
    by_name = named_leaves(joined(params, own))

    def like_its_parameter(name: str, leaf: Any) -> NamedSharding:
        """A moment is sharded like the parameter whose path its own ends with."""
        parts = name.split("/")
        for first in range(len(parts)):
            parameter = "/".join(parts[first:])
            if parameter in trained and trained[parameter].shape == leaf.shape:
                return by_name[parameter]
        return everywhere

    carried = None
    if state.carried is not None:
        carried = jax.tree.map(
            lambda _, axis: by_row(mesh, axis), state.carried, model.state_batch_axes
        )
    return TrainState(
        step=everywhere,  # type: ignore[arg-type]
        params=params,
        objectives=own,
        opt_state=map_named(like_its_parameter, state.opt_state),
        key=everywhere,  # type: ignore[arg-type]
        carried=carried,
    )


def model_shardings(model: LanguageModel, mesh: Mesh) -> Any:
    """Shardings of what a model keeps beside its parameters: a tree like the model."""
    return shardings(model, model.kept_specs(), mesh)


def _matrix_spec(ndim: int) -> PartitionSpec:
    return PartitionSpec(*(None,) * (ndim - 2), *("fsdp", "tensor")[-ndim:])


def abstract_on(tree: Any, sharding: Any) -> Any:
    """Shapes and dtypes of `tree`, to be restored on any mesh.

    `sharding` is one, or a tree of them that is a prefix of `tree`.
    """

    def on(sharding: jax.sharding.Sharding, part: Any) -> Any:
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), part
        )

    return jax.tree.map(on, sharding, tree)


def abstract_batch(config: Config, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes, dtypes and shardings of a run's batches, to compile for before there is one."""
    shape = config.train.batch_size, config.data.seq_len
    return {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=by_row(mesh))
        for name, dtype in DTYPES.items()
    }


def distribute(array: jax.Array, sharding: NamedSharding) -> jax.Array:
    """An array that every process has, or that lies on the devices, each with its part of it."""
    if not array.is_fully_addressable:
        return jax.jit(lambda x: x, out_shardings=sharding)(array)
    if jax.process_count() == 1:
        return jax.device_put(array, sharding)
    on_host = np.asarray(array)
    return jax.make_array_from_callback(on_host.shape, sharding, on_host.__getitem__)


def process_local(tree: Any) -> Any:
    """Arrays that this process alone can compute with.

    What every device holds is taken from the first one. What is split stays split over the devices
    of one process; each of several gets the whole of it.
    """
    arrays = jax.tree.leaves(tree)
    if not all(array.is_fully_replicated for array in arrays):
        if jax.process_count() == 1:
            return tree
        mesh = arrays[0].sharding.mesh
        tree = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(tree)
    return jax.tree.map(lambda array: array.addressable_data(0), tree)


def shard_whole_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """The rows of all processes, as every process has them, as one global array each."""
    sharding = by_row(mesh)
    return {
        name: jax.make_array_from_callback(rows.shape, sharding, rows.__getitem__)
        for name, rows in batch.items()
    }


def shard_batch(batch: dict[str, np.ndarray], mesh: Mesh) -> Batch:
    """This process's rows of a batch as one global array each."""
    sharding = by_row(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }
