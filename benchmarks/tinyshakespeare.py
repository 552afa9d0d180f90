"""Tiny Shakespeare by characters, windows of 64, batch 12: the setting of a known small baseline.

    python train.py --config=benchmarks/tinyshakespeare.py --config.data.train=FILE

FILE is the usual 1.1 MB text; its first 90 % are trained on, the rest is the validation text.
"""

from mmrec_jax.config import Config, OptimConfig, TokenizerConfig, TrainConfig
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.models.mmrec.config import MMRecConfig


def get_config() -> Config:
    """The run."""
    return Config(
        model=MMRecConfig(
            vocab_size=67,  # 65 characters, begin and end
            model_dim=96,
            num_layers=4,
            num_memories=4,
            ffn_dim=384,
            context=64,
        ),
        data=TextConfig(
            train="tinyshakespeare.txt",
            documents="file",
            validation_fraction=0.1,
            seq_len=64,
        ),
        tokenizer=TokenizerConfig(kind="char"),
        optim=OptimConfig(lr=4e-3, warmup_steps=100, b2=0.99),
        train=TrainConfig(
            steps=2000,
            batch_size=12,
            eval_every=200,
            checkpoint_every=200,
        ),
    )
