"""Training on rows of 32,768 tokens: the built-in English manual as bytes, the tiny model.

python train.py --config=configs/long.py

Gradients flow through a whole row. Each block reads it `model.time_chunk` tokens at a time and
keeps only what is needed to do so again, so memory grows by the row's activations between blocks
and its logits alone. Evaluation reads any length in the memory of one row:

mmrec eval loss --workdir=runs/long --documents=file --data=FILE
"""

import dataclasses

from mmrec_jax.config import Config, OptimConfig, TokenizerConfig, TrainConfig
from mmrec_jax.data.kinds.text import ManualConfig
from mmrec_jax.models.mmrec.sizes import SIZES


def get_config() -> Config:
    """The run; every field can be overridden on the command line."""
    model = dataclasses.replace(SIZES["tiny"], vocab_size=300, context=32_768)
    return Config(
        model=model,
        data=ManualConfig(seq_len=32_768),
        tokenizer=TokenizerConfig(kind="byte"),
        optim=OptimConfig(lr=3e-3, warmup_steps=10),
        train=TrainConfig(
            steps=100,
            batch_size=2,
            eval_every=50,
            checkpoint_every=10,
            sample_prompt="The ",
        ),
    )
