"""Progressive context: rows of 1,024 tokens, then twice as long five times over, up to 32,768.

python train.py --config=configs/progressive.py

Every step reads 32,768 tokens of the built-in English manual as bytes with the tiny model: 32 rows
at first, 1 in the end. The program of each length is compiled while the one before it trains. Rows
of the last stage run on one device; a batch of 2 x 32,768 tokens would use both of two cores.

A smaller form, of minutes, with 4,096 tokens a step up to rows of 2,048:

python train.py --config=configs/progressive.py --config.train.steps=30 \
  --config.data.seq_len=512 --config.train.batch_size=8 --config.stages="[\
  {'step': 10, 'seq_len': 1024, 'batch_size': 4}, {'step': 20, 'seq_len': 2048, 'batch_size': 2}]"

Validation is on rows of `data.seq_len` in every stage, so that its numbers compare; what the long
context is worth is said by

mmrec eval length --workdir=runs/progressive --data=FILE --documents=file
"""

import dataclasses

from mmrec_jax.config import Config, OptimConfig, TokenizerConfig, TrainConfig
from mmrec_jax.data.kinds.text import ManualConfig
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.stages import StageConfig

_STEPS = 20  # of each length
_SHORTEST, _ROWS, _DOUBLINGS = 1024, 32, 5


def get_config() -> Config:
    """The run; every field can be overridden on the command line."""
    longest = _SHORTEST << _DOUBLINGS
    model = dataclasses.replace(SIZES["tiny"], vocab_size=300, context=longest)
    stages = (
        StageConfig(step=_STEPS * n, seq_len=_SHORTEST << n, batch_size=_ROWS >> n)
        for n in range(1, _DOUBLINGS + 1)
    )
    return Config(
        model=model,
        data=ManualConfig(seq_len=_SHORTEST),
        tokenizer=TokenizerConfig(kind="byte"),
        optim=OptimConfig(lr=3e-3, warmup_steps=10),
        train=TrainConfig(
            steps=_STEPS * (_DOUBLINGS + 1),
            batch_size=_ROWS,
            eval_every=_STEPS,
            checkpoint_every=_STEPS,
            sample_prompt="The ",
        ),
        stages=tuple(stages),
    )
