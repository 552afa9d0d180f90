"""Who gets kernels, and that each device computes its own rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, NamedSharding, PartitionSpec

from mmrec_jax.models.mmrec.kernels import (
    KernelTarget,
    kernel_target,
    kernels_for,
    on_each_device,
)
from mmrec_jax.train.mesh import arrange

TPU, GPU = KernelTarget("tpu"), KernelTarget("gpu")


def target_on(platform, kind, rows=4, dtype=jnp.float32, **axes):
    device = AbstractDevice(kind, 1, platform)
    mesh = AbstractMesh(tuple(axes.values()), tuple(axes), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        return kernel_target(dtype, rows)


def test_devices_dtypes_and_meshes_that_have_kernels():
    assert kernel_target(jnp.float32, 4) is None  # a CPU
    assert target_on("tpu", "TPU v5 lite", data=2, fsdp=2, tensor=1) == TPU
    assert target_on("tpu", "TPU v5 lite", data=2, fsdp=2, rows=6) is None
    assert target_on("tpu", "TPU v5 lite", data=2, tensor=2) is None
    assert target_on("tpu", "TPU v5 lite", data=2, dtype=jnp.float64) is None
    for kind in ("NVIDIA H200", "NVIDIA A100-SXM4-40GB", "NVIDIA GeForce RTX 4070"):
        assert target_on("gpu", kind, data=1) == GPU
    for kind in ("Tesla T4", "NVIDIA GeForce RTX 2080 Ti", "NVIDIA TITAN V", "AMD Instinct MI300X"):
        assert target_on("gpu", kind, data=1) is None


def test_what_is_asked_for_comes_before_what_the_devices_are():
    with kernels_for(GPU):
        assert kernel_target(jnp.float32, 4) == GPU
        assert kernel_target(jnp.float64, 4) is None
        with kernels_for(None):
            assert kernel_target(jnp.float32, 4) is None
    assert kernel_target(jnp.float32, 4) is None


@pytest.mark.parametrize("by_hand", [False, True])
def test_each_device_computes_its_own_rows(by_hand):
    """Also inside a `shard_map` over another axis."""
    mesh = arrange(jax.devices(), data=2, fsdp=2)
    shapes = []

    def scaled(x, y):
        shapes.append(x.shape)
        return x * y[None]

    def run(x, y):
        return on_each_device(scaled, (x,), (y,))

    if by_hand:
        along_width = PartitionSpec(None, "fsdp")
        run = jax.shard_map(
            run, in_specs=(along_width, PartitionSpec("fsdp")), out_specs=along_width,
            axis_names={"fsdp"}, check_vma=False,
        )  # fmt: skip
    x, y = np.arange(32.0, dtype=np.float32).reshape(4, 8), np.arange(8, dtype=np.float32)
    with jax.set_mesh(mesh):
        placed = jax.device_put(x, NamedSharding(mesh, PartitionSpec(("fsdp", "data"))))
        result = jax.jit(run)(placed, y)
    np.testing.assert_array_equal(result, x * y[None])
    assert set(shapes) == {(2, 4) if by_hand else (1, 8)}
