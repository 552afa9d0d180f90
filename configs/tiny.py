"""Tiny MM-Rec on the built-in Turkish treebank.

python train.py --config=configs/tiny.py
"""

import dataclasses

from ml_collections import ConfigDict

from mmrec_jax.config import Config, DataConfig, OptimConfig, TrainConfig, to_config_dict
from mmrec_jax.sizes import SIZES


def get_config() -> ConfigDict:
    """The run; every field can be overridden on the command line."""
    model = dataclasses.replace(SIZES["tiny"], vocab_size=1000, dropout=0.1)
    return to_config_dict(
        Config(
            model=model,
            data=DataConfig(source="treebank", seq_len=256),
            optim=OptimConfig(lr=3e-3, warmup_steps=50),
            train=TrainConfig(steps=600, batch_size=8, eval_every=200, checkpoint_every=200),
        )
    )
