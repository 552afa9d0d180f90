"""The kernels compiled for devices that are not here, and in the training step."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmrec_jax.config import Config, OptimConfig, TrainConfig
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.recurrence import gated_scan
from mmrec_jax.models.mmrec.scan import linear_scan
from mmrec_jax.plan.step import lower_steps
from mmrec_jax.plan.target import find_target
from mmrec_jax.train.mesh import arrange

# What a program calls for a kernel. A GPU's compiler turns the Triton program into PTX; the card's
# driver, or ptxas, makes code for it where there is a card.
CALLS = {"v5e:2x2": "tpu_custom_call", "cuda:rtx4070": "__gpu$xla.gpu.triton"}
CALLS["cuda:h200"] = CALLS["cuda:rtx4070"]
_CALL = re.compile(r'custom_call_target="([^"]+)".*?op_name="([^"]+)"')
_NAME = re.compile(r"gated_scan_gradient|gated_scan|linear_scan")


def found(name, count=None):
    plugin, extra = ("libtpu", "tpu") if name[0] == "v" else ("jax_plugins.xla_cuda12", "cuda")
    pytest.importorskip(plugin, reason=f"needs the extra plan-{extra}")
    return find_target(name, count)


def kernels(program, call):
    """The names of the kernels of the short-term memory that a compiled program calls."""
    calls = " ".join(path for target, path in _CALL.findall(program) if target == call)
    return sorted(_NAME.findall(calls))


@pytest.mark.parametrize("name", CALLS)
def test_each_kernel_compiles(name):
    """Odd lengths, and rows that are no multiple of eight."""
    mesh = arrange(found(name, 1).devices)

    def loss(x, w, reset):
        h, h_last, _ = gated_scan(x, x, w, w, reset=reset)
        again, last = linear_scan(h, x, h_last, reset=reset, reverse=True)
        return jnp.sum(again) + jnp.sum(last)

    def like(*shape, dtype=jnp.float32):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, PartitionSpec()))

    arguments = like(11, 45, 128), like(128), like(11, 45, dtype=jnp.bool_)
    with jax.set_mesh(mesh):
        program = jax.jit(jax.grad(loss)).lower(*arguments).compile().as_text()
    expected = ["gated_scan", "gated_scan_gradient", "linear_scan", "linear_scan"]
    assert kernels(program, CALLS[name]) == expected


@pytest.mark.parametrize(("name", "count"), [("v5e:2x2", 4), ("cuda:h200", 1)])
def test_the_training_step_solves_the_recurrence_by_kernels(name, count):
    """Forward, forward again (`remat`) and backward; each device its own rows."""
    model = MMRecConfig(
        vocab_size=90, model_dim=128, num_layers=1, num_memories=2, dtype="bfloat16"
    )
    config = Config(
        model=model,
        data=TreebankConfig(seq_len=32),
        optim=OptimConfig(name="adamw"),
        train=TrainConfig(steps=10, batch_size=count, devices=count),
    )
    [(_, lowered)] = lower_steps(config, found(name, count))
    program = lowered.compile().as_text()
    assert kernels(program, CALLS[name]) == ["gated_scan", "gated_scan", "gated_scan_gradient"]
