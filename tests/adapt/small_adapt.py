"""An adaptation of seconds: every stage, on a decoder of a few thousand parameters.

The texts are given with --config.text=FILE, --config.english=FILE and --config.instructions=FILE.
"""

from mmrec_jax.adapt.config import (
    AdaptConfig,
    EvaluationConfig,
    ExtensionConfig,
    TrainingConfig,
)
from mmrec_jax.config import AdapterConfig, OptimConfig
from mmrec_jax.models.transformer.config import TransformerConfig


def get_config() -> AdaptConfig:
    """The adaptation."""
    # Alike, so that the programs of two stages are one.
    short = {"seq_len": 32, "batch_size": 4, "eval_every": 4, "lr_factor": 1.0}
    return AdaptConfig(
        devices=1,
        control=False,
        validation_fraction=0.2,
        model=TransformerConfig(
            vocab_size=300,
            model_dim=16,
            num_layers=1,
            num_heads=2,
            num_kv_heads=1,
            head_dim=8,
            ffn_dim=24,
        ),
        extension=ExtensionConfig(vocab_size=20, superwords=2, multiple=16),
        adapters=AdapterConfig(kind="dora", rank=2),
        optim=OptimConfig(lr=1e-2, warmup_steps=1),
        pretrain=TrainingConfig(tokens=384, **short),
        align=TrainingConfig(tokens=500, **short),
        first=TrainingConfig(tokens=800, **short),
        second=TrainingConfig(epochs=0.0, **short),
        third=TrainingConfig(tokens=800, **short),
        instruct=TrainingConfig(**short | {"seq_len": 128}, tokens=2000),
        evaluation=EvaluationConfig(samples=2, sample_tokens=4, seq_len=32, batch_size=4),
    )
