import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from mmrec_jax.config import OptimConfig, TrainConfig
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.train.mesh import by_row, make_mesh, place_batch, replicated
from mmrec_jax.train.state import initial_state
from mmrec_jax.train.step import make_train_step
from tests.small_run import small_model


def _batch():
    rng = np.random.default_rng(0)
    real = np.arange(8) < rng.integers(1, 9, (16, 1))
    batch = {name: rng.integers(0, 50, (16, 8)) for name in ("inputs", "targets")}
    batch["segment_ids"] = real
    batch = {name: np.where(real, x, 0).astype(np.int32) for name, x in batch.items()}
    # Most of the weight lies on one device.
    weights = rng.random((16, 8)) * np.where(np.arange(16) < 2, 5, 0.2)[:, None]
    return batch | {"weights": np.where(real, weights, 0).astype(np.float32)}


def _losses(devices, accumulate=2):
    config = TrainConfig(steps=5, batch_size=16, accumulate=accumulate, devices=devices)
    mesh = make_mesh(config)
    model = MMRecLM(small_model(gate="none", memory="none", use_uboo=True))
    optimizer = build_optimizer(OptimConfig(lr=1e-2, warmup_steps=1), config.steps)
    start = jax.jit(lambda: initial_state(model, optimizer, 0), out_shardings=replicated(mesh))
    step = jax.jit(
        make_train_step(model, optimizer, accumulate),
        out_shardings=replicated(mesh),
        donate_argnums=0,
    )
    state, losses = start(), []
    placed = place_batch(_batch(), mesh)
    assert len(placed["inputs"].sharding.device_set) == devices
    for _ in range(config.steps):
        state, metrics = step(state, placed)
        losses.append([float(metrics[name]) for name in ("loss", "uboo", "grad_norm", "tokens")])
    return losses


def test_eight_devices_train_as_one_does():
    one, eight = _losses(1), _losses(8)
    np.testing.assert_allclose(eight, one, rtol=2e-5)
    assert one[-1][0] < one[0][0]


def test_rows_are_dealt_to_the_devices_in_order():
    mesh = make_mesh(TrainConfig(steps=1, batch_size=16))
    rows = np.arange(16 * 3).reshape(16, 3)
    placed = place_batch({"x": rows}, mesh)["x"]
    assert placed.sharding == by_row(mesh)
    for number, shard in enumerate(placed.addressable_shards):
        np.testing.assert_array_equal(shard.data, rows[2 * number : 2 * number + 2])
    np.testing.assert_array_equal(placed, rows)


def test_all_devices_are_used_unless_told_otherwise():
    assert make_mesh(TrainConfig(steps=1, batch_size=16)).size == len(jax.devices()) == 8
    assert (
        make_mesh(TrainConfig(steps=1, batch_size=16, devices=2)).devices.tolist()
        == (jax.devices()[:2])
    )


def test_more_devices_than_there_are_is_refused():
    with pytest.raises(UserError, match=r"config\.train\.devices is 9; this machine has 8"):
        make_mesh(TrainConfig(steps=1, batch_size=9, devices=9))


@pytest.mark.parametrize("lengths", [{"batch_size": 12}, {"batch_size": 16, "accumulate": 4}])
def test_rows_that_do_not_divide_over_the_devices_are_refused(lengths):
    with pytest.raises(UserError, match=r"batch_size / accumulate is \d+; .* the 8 devices"):
        make_mesh(TrainConfig(steps=1, **lengths))


@pytest.mark.parametrize(
    ("flags", "options", "devices"),
    [
        ("", "batch_size=12, accumulate=2", 3),  # the most of four cores that divide six rows
        ("", "batch_size=7", 1),
        ("", "batch_size=10, devices=5", 5),
        ("--xla_force_host_platform_device_count=2", "batch_size=12", 2),
    ],
)
def test_the_cpu_becomes_a_device_a_core_unless_told_otherwise(flags, options, devices):
    code = f"""
import os
os.sched_getaffinity = lambda process: {{0, 1, 2, 3}}
from mmrec_jax.config import TrainConfig
from mmrec_jax.train.mesh import make_mesh, split_cpu
config = TrainConfig(steps=1, {options})
split_cpu(config)
print(make_mesh(config).size)
split_cpu(config)  # too late to change anything, and no error
"""
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) == devices
