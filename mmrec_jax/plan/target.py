"""Devices by name that need not be here: slices of a TPU, and CUDA cards.

JAX compiles for them from descriptions: those of TPUs are part of libtpu, that of a card is a text
in the format of XLA's `GpuTargetConfigProto`. Neither needs a driver or a device.
"""

import csv
import dataclasses
import importlib.util
import os
import re
from pathlib import Path

import jax
from jax.experimental import topologies

from mmrec_jax.errors import UserError

# GiB that libtpu lets a program of one chip take, of 16, 95 and 32.
_TPU_MEMORY = {"v5e": 15.75, "v5p": 95.74, "v6e": 31.25}
# Of a host with chips these are read from it; without them libtpu complains on standard error.
_TPU_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # nothing is run: other processes may compile as well
}
_CARDS = Path(__file__).with_name("cards.csv")
_CARD = """gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared_per_core}
  threads_per_core_limit: {threads_per_core}
  core_count: {cores}
  fpus_per_core: {fpus_per_core}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth:.0f}
  l2_cache_size: {l2}
  clock_rate_ghz: {clock}
  device_memory_size: {memory}
  shared_memory_per_block_optin: {shared_per_block}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
runtime_version {{ major: 12 minor: 8 patch: 0 }}
device_description_str: "{description}"
"""
_MEMORY = re.compile(r"device_memory_size:\s*(\d+)")


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to compile for."""

    devices: tuple[jax.Device, ...]
    memory: int  # bytes of one device

    @property
    def kind(self) -> str:
        """What one device is called."""
        return self.devices[0].device_kind

    @property
    def platform(self) -> str:
        """As JAX has it: "tpu" or "gpu"."""
        return self.devices[0].platform


def find_target(name: str, count: int | None = None) -> Target:
    """The devices of `--target`: "v5e:2x4", "cuda:rtx4070", "cuda:FILE".

    `count`: the first so many of a slice (None: all), or so many cards (None: one).

    Raises:
      UserError: the name means nothing, the plugin that compiles for it is not installed, or there
        are fewer devices.
    """
    if count is not None and count < 1:
        raise UserError(f"--devices is {count}; it must be at least 1")
    kind, _, what = name.partition(":")
    if kind == "cuda" and what:
        return _cuda(what, count or 1)
    if kind in _TPU_MEMORY and re.fullmatch(r"\d+(x\d+)+", what):
        return _tpu(name, kind, count)
    raise UserError(
        f"--target is {name}; it must be a slice of a TPU ({', '.join(_TPU_MEMORY)}) with its "
        f"shape, such as v5e:2x4 or v5p:2x2x2, or cuda:CARD ({', '.join(_cards())}) or cuda:FILE"
    )


def _tpu(name: str, kind: str, count: int | None) -> Target:
    _require(name, "libtpu", "plan-tpu")
    os.environ.update({key: os.environ.get(key, x) for key, x in _TPU_ENVIRONMENT.items()})
    devices = _devices(name, platform="tpu", topology_name=name)
    if count is not None and count > len(devices):
        raise UserError(f"--devices is {count}; {name} has {len(devices)}")
    return Target(devices[:count], int(_TPU_MEMORY[kind] * 2**30))


def _cuda(what: str, count: int) -> Target:
    name, cards = f"cuda:{what}", _cards()
    if what in cards:
        text = cards[what]
    else:
        try:
            text = Path(what).expanduser().read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UserError(
                f"--target {name}: {reason}; cards that are known are {', '.join(cards)}, others "
                "are files such as mmrec_jax/plan/target.py writes"
            ) from None
    memory = _MEMORY.search(text)
    if memory is None:
        raise UserError(f"--target {name}: the description has no device_memory_size")
    _require(name, "jax_plugins.xla_cuda12", "plan-cuda")
    devices = _devices(name, platform="cuda", target_config=text, topology=f"1x1x{count}")
    return Target(devices, int(memory[1]))


def _cards() -> dict[str, str]:
    """The descriptions that come with the library."""
    rows = csv.DictReader(
        line for line in _CARDS.read_text("utf-8").splitlines() if not line.startswith("#")
    )
    return {row["name"]: _describe(row) for row in rows}


def _describe(row: dict[str, str]) -> str:
    major, minor = row["capability"].split(".")
    bandwidth = float(row["bandwidth"])
    return _CARD.format(**row | {"bandwidth": bandwidth, "major": major, "minor": minor})


def _require(name: str, module: str, extra: str) -> None:
    package, _, _ = module.partition(".")
    if importlib.util.find_spec(package) is None or importlib.util.find_spec(module) is None:
        raise UserError(
            f"--target {name} needs the compiler for it: pip install 'mmrec_jax[{extra}]'"
        )


def _devices(name: str, **description: str) -> tuple[jax.Device, ...]:
    try:
        return tuple(topologies.get_topology_desc(**description).devices)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"--target {name}: {reason}") from None
