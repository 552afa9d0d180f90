"""What an adaptation of a quantised base keeps in memory: never the kernels of all layers."""

import math
import re

import jax
import pytest

from mmrec_jax.config import AdapterConfig, Config, NoiseConfig, OptimConfig, TrainConfig
from mmrec_jax.config_file import read_config
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.plan.program import compile_program
from mmrec_jax.plan.step import lower_steps
from mmrec_jax.plan.target import Target, find_target
from tests.small_run import ROOT

_HERE = Target(tuple(jax.devices()), 1)
_FLOATS = re.compile(r"\b(?:f32|bf16|f16)\[([\d,]+)\]")


def sizes(lowered):
    """Numbers in each array of floats in the compiled program."""
    shapes = set(_FLOATS.findall(lowered.compile().as_text()))
    return {math.prod(map(int, shape.split(","))) for shape in shapes}


def small_config(base_dtype, new_rows=20):
    """Five layers, whose kernels are larger than activations, vocabulary and logits."""
    model = TransformerConfig(
        vocab_size=70 + new_rows,
        new_rows=new_rows,
        model_dim=64,
        num_layers=5,
        head_dim=32,
        ffn_dim=192,
        qk_norm=True,
        tie_embeddings=False,
        dtype="bfloat16",
    )
    embedding = "int8" if base_dtype == "nf4" else ""
    return Config(
        init_from="none",
        model=model,
        adapters=AdapterConfig(
            kind="dora", rank=2, base_dtype=base_dtype, embedding_dtype=embedding
        ),
        data=TreebankConfig(seq_len=24),
        optim=OptimConfig(name="sophia_g", moment_dtype="bfloat16"),
        noise=NoiseConfig(alpha=5.0),
        train=TrainConfig(steps=10, batch_size=1, devices=1),
    )


def test_a_small_program_holds_one_layer_of_kernels_at_a_time():
    one, all_layers = 64 * 192, 5 * 64 * 64  # the largest kernel; the smallest, of all layers
    for _, lowered in lower_steps(small_config("nf4"), _HERE):
        assert one <= max(sizes(lowered)) < all_layers
    _, unquantised = next(iter(lower_steps(small_config("bfloat16"), _HERE)))
    assert max(sizes(unquantised)) == 5 * one  # the test sees them where they are


def test_a_refresh_takes_the_memory_of_a_step():
    """Most of it is of new rows: their gradients and the estimate are not there at once."""
    programs = lower_steps(small_config("nf4", new_rows=4000), _HERE)
    step, refresh = (compile_program(lowered).total for _, lowered in programs)
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
        assert not sizes(lowered) & stacked
        assert compile_program(lowered).total <= 10.0e9
