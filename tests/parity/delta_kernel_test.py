"""The long-term memory's kernels compiled for devices that are not here, and in training."""

import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mmrec_jax.config import Config, OptimConfig, TrainConfig
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.models.mmrec.kernels import kernels_for
from mmrec_jax.models.mmrec.memory import delta_scan
from mmrec_jax.plan.step import lower_steps
from mmrec_jax.plan.target import find_target
from mmrec_jax.train.mesh import arrange

# What a program calls for a kernel. A GPU's compiler turns the Triton program into PTX; the card's
# driver, or ptxas, makes code for it where there is a card.
CALLS = {"v5e:2x2": "tpu_custom_call", "cuda:rtx4070": "__gpu$xla.gpu.triton"}
CALLS["cuda:h200"] = CALLS["cuda:rtx4070"]
LARGEST = {128: "bfloat16", 64: "float32"}  # S = K on a card


def found(name, count):
    plugin, extra = ("libtpu", "tpu") if name[0] == "v" else ("jax_plugins.xla_cuda12", "cuda")
    pytest.importorskip(plugin, reason=f"needs the extra plan-{extra}")
    return find_target(name, count)


def calls(name, program):
    """How often a compiled program calls the kernels, by their names."""
    pattern = re.compile(r'custom_call_target="([^"]+)".*?op_name="[^"]*\b(delta_\w+)\W')
    made = [kernel for target, kernel in pattern.findall(program) if target == CALLS[name]]
    return {kernel: made.count(kernel) for kernel in made}


@pytest.mark.parametrize(
    ("name", "heads", "width", "chunk", "dtype"),
    [
        *[(name, 3, width, 32, dtype) for name in CALLS for width, dtype in LARGEST.items()],
        ("v5e:2x2", 8, 128, 64, "float32"),
        ("v5e:2x2", 1, 256, 128, "float32"),
    ],
)
def test_both_kernels_compile(name, heads, width, chunk, dtype):
    """At the largest shapes that they take; an odd number of tokens."""
    mesh = arrange(found(name, 1).devices)

    def loss(q, k, v, alpha, beta, m0, reset):
        r, m_last = delta_scan(q, k, v, alpha, beta, m0, reset=reset, chunk=chunk)
        return jnp.sum(r.astype(jnp.float32)) + jnp.sum(m_last)

    def like(*shape, dtype="float32"):
        everywhere = NamedSharding(mesh, PartitionSpec())
        return jax.ShapeDtypeStruct(shape, dtype, sharding=everywhere)

    tokens, decays = like(2, 75, heads, width, dtype=dtype), like(2, 75, heads)
    memory, reset = like(2, heads, width, width), like(2, 75, dtype="bool")
    inputs = (*(tokens,) * 3, decays, decays, memory, reset)
    with jax.set_mesh(mesh):
        program = jax.jit(jax.grad(loss, range(6))).lower(*inputs).compile().as_text()
    assert calls(name, program) == {"delta_scan": 1, "delta_gradient": 1}


@pytest.mark.parametrize(("name", "count"), [("v5e:2x2", 4), ("cuda:h200", 1)])
def test_the_training_step_has_the_kernels(name, count):
    """Forward, forward again (`remat`) and backward; none with kernels off."""
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
    assert calls(name, program) == {"delta_scan": 2, "delta_gradient": 1}
    with kernels_for(None):
        [(_, lowered)] = lower_steps(config, found(name, count))
    assert "delta_gradient" not in lowered.as_text()
