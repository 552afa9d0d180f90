"""Qwen3-8B with 40,000 new Turkish tokens on one card of 12 GB: QDoRA and NEFTune.

mmrec plan --config=configs/qwen3_8b_qdora.py --target=cuda:rtx4070

The kernels are NF4 with a DoRA adapter of rank 16 on each; the old rows of embedding and head are
int8; the new rows of both are trained in bfloat16, and so is what AdamW remembers. Sophia-G fits
as well (`--config.optim.name=sophia_g`). The tokenizer comes from `mmrec tokenizer extend`; `model`
here is what it and the base make, so that the memory can be planned without either. On 8 TPU v5e
chips, a row on each:

mmrec plan --config=configs/qwen3_8b_qdora.py --target=v5e:2x4 --config.mesh.data=1 \
  --config.mesh.fsdp=8 --config.train.batch_size=8
"""

from mmrec_jax.config import (
    AdapterConfig,
    Config,
    ExtendConfig,
    NoiseConfig,
    OptimConfig,
    TrainConfig,
)
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.models.transformer.config import TransformerConfig

_OLD_ROWS, _NEW_ROWS = 151_669, 40_000


def get_config() -> Config:
    """The run; every field can be overridden on the command line."""
    return Config(
        init_from="Qwen/Qwen3-8B",
        extend=ExtendConfig(tokenizer="runs/qwen3_turkish"),
        model=TransformerConfig(
            vocab_size=_OLD_ROWS + _NEW_ROWS,
            new_rows=_NEW_ROWS,
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
        adapters=AdapterConfig(
            kind="dora",
            rank=16,
            alpha=32.0,
            base_dtype="nf4",
            embedding_dtype="int8",
            train_dtype="bfloat16",
        ),
        data=TextConfig(train="corpus/*.jsonl", seq_len=2048),
        optim=OptimConfig(lr=2e-4, moment_dtype="bfloat16"),
        noise=NoiseConfig(alpha=5.0),
        train=TrainConfig(epochs=1.0, batch_size=1, sample_tokens=0),
    )
