"""What an adaptation of a quantised base keeps in memory: never the kernels of all layers."""

import math
import re
from types import SimpleNamespace

import jax
import pytest

from mmrec_jax.config import AdapterConfig, Config, NoiseConfig, OptimConfig, TrainConfig
from mmrec_jax.config_file import read_config
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.plan.program import compile_program
from mmrec_jax.plan.step import lower_steps
from mmrec_jax.plan.target import Target, find_target
from mmrec_jax.tree import named_leaves
from tests.small_run import ROOT

_HERE = Target(tuple(jax.devices()), 1)
_FLOATS = re.compile(r"\b(?:f32|bf16|f16)\[([\d,]+)\]")


def sizes(compiled):
    """Numbers in each array of floats in the compiled program."""
    shapes = set(_FLOATS.findall(compiled.as_text()))
    return {math.prod(map(int, shape.split(","))) for shape in shapes}


def test_small_programs_hold_one_layer_of_kernels_and_a_refresh_takes_the_memory_of_a_step():
    """Most of that is of new rows: their gradients and the estimate are not there at once."""
    model = TransformerConfig(
        vocab_size=4070,
        new_rows=4000,
        model_dim=64,
        num_layers=5,
        head_dim=32,
        ffn_dim=192,
        qk_norm=True,
        tie_embeddings=False,
        dtype="bfloat16",
    )
    config = Config(
        init_from="none",
        model=model,
        adapters=AdapterConfig(kind="dora", rank=2, base_dtype="nf4", embedding_dtype="int8"),
        data=TreebankConfig(seq_len=24),
        optim=OptimConfig(name="sophia_g", moment_dtype="bfloat16"),
        noise=NoiseConfig(alpha=5.0),
        train=TrainConfig(steps=10, batch_size=1, devices=1),
    )

    shapes = named_leaves(jax.eval_shape(model.build().init, jax.random.key(0)))
    stacked = {leaf.size for name, leaf in shapes.items() if name.endswith("kernel")}
    totals = []
    for _, lowered in lower_steps(config, _HERE):
        compiled = lowered.compile()
        assert {size // 5 for size in stacked} <= sizes(compiled)
        assert not sizes(compiled) & stacked
        totals.append(compile_program(SimpleNamespace(compile=lambda done=compiled: done)).total)
    step, refresh = totals
    assert refresh <= 1.1 * step


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("optimizer", ["adamw", "sophia_g"])
def test_qwen3_8b_on_a_card_of_12_gb(optimizer):
    pytest.importorskip("jax_plugins.xla_cuda12", reason="needs the extra plan-cuda")
    chosen = [f"--config.optim.name={optimizer}"]
    config = read_config(str(ROOT / "configs" / "qwen3_8b_qdora.py"), chosen)
    # Of all layers: k and v, q and o, gate, up and down. New rows, and what enters each layer, are
    # larger than the first of them.
    stacked = {36 * 4096 * width for width in (1024, 4096, 12_288)}
    for _, lowered in lower_steps(config, find_target("cuda:rtx4070")):
        compiled = lowered.compile()
        assert not sizes(compiled) & stacked
        assert compile_program(SimpleNamespace(compile=lambda done=compiled: done)).total <= 10.0e9
