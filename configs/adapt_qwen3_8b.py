"""Qwen3-8B learns Turkish on one card of 12 GB: 40,000 new tokens, QDoRA, NEFTune.

mmrec adapt --config=configs/adapt_qwen3_8b.py --workdir=runs/qwen --config.text='corpus/*.parquet'
mmrec adapt --config=configs/adapt_qwen3_8b.py --workdir=runs/qwen --dry-run

The second prints the memory of each stage, by the compiler for the card (extra plan-cuda).

The base is NF4 with a DoRA adapter of rank 16 on each kernel; the old rows of embedding and head
are int8; the new rows of both are trained in bfloat16, and so is what AdamW remembers. `model` is
the base's, so that --dry-run needs no weights. On several chips: --config.target=v5e:2x4
--config.mesh.data=1 --config.mesh.fsdp=8 and a batch_size of 8 in each stage.
"""

from mmrec_jax.adapt.config import AdaptConfig, EvaluationConfig, ExtensionConfig, TrainingConfig
from mmrec_jax.config import AdapterConfig, OptimConfig
from mmrec_jax.models.transformer.config import TransformerConfig


def get_config() -> AdaptConfig:
    """The adaptation; every field can be overridden on the command line."""
    return AdaptConfig(
        base="Qwen/Qwen3-8B",
        target="cuda:rtx4070",
        control=False,
        model=TransformerConfig(
            vocab_size=151_669,
            model_dim=4096,
            num_layers=36,
            num_heads=32,
            num_kv_heads=8,
            head_dim=128,
            ffn_dim=12_288,
            rope_theta=1e6,
            qk_norm=True,
            tie_embeddings=False,
            max_length=40_960,
            dtype="bfloat16",
            param_dtype="bfloat16",
        ),
        extension=ExtensionConfig(vocab_size=40_000, superwords=10_000),
        adapters=AdapterConfig(
            kind="dora",
            rank=16,
            alpha=32.0,
            base_dtype="nf4",
            embedding_dtype="int8",
            train_dtype="bfloat16",
        ),
        optim=OptimConfig(lr=2e-4, warmup_steps=100, moment_dtype="bfloat16"),
        align=TrainingConfig(tokens=3_000_000, seq_len=512, eval_every=500, lr_factor=3.0),
        first=TrainingConfig(tokens=30_000_000, seq_len=2048, batch_size=1, eval_every=1000),
        second=TrainingConfig(
            tokens=40_000_000, seq_len=2048, batch_size=1, eval_every=1000, lr_factor=0.7
        ),
        third=TrainingConfig(
            tokens=30_000_000, seq_len=2048, batch_size=1, eval_every=1000, lr_factor=0.5
        ),
        instruct=TrainingConfig(seq_len=2048, batch_size=1, epochs=1.0, lr_factor=0.5),
        evaluation=EvaluationConfig(seq_len=2048, batch_size=1),
    )
