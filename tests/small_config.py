"""A run of seconds: every part of the model switched on, a few thousand parameters.

The text is given with `--config.data.train=FILE`.
"""

from mmrec_jax.config import Config, OptimConfig, TokenizerConfig, TrainConfig
from mmrec_jax.data.kinds.text import TextConfig
from mmrec_jax.models.mmrec.config import MMRecConfig
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.uboo import UBOOConfig


def get_config() -> Config:
    """The run."""
    model = MMRecConfig(
        vocab_size=258,
        model_dim=32,
        num_layers=2,
        num_memories=2,
        context=64,
        dropout=0.1,
        chunk=8,
        remat="none",
    )
    return Config(
        model=model,
        objectives=Objectives(uboo=UBOOConfig()),
        data=TextConfig(train="words.txt", seq_len=32),
        tokenizer=TokenizerConfig(kind="byte"),
        optim=OptimConfig(lr=1e-2, warmup_steps=5),
        train=TrainConfig(
            steps=40,
            batch_size=8,
            accumulate=1,
            log_every=1,
            eval_every=20,
            checkpoint_every=4,
            keep_last=1,
            sample_tokens=4,
        ),
    )
