"""Fine-tuning on prompts and responses: DoRA and NEFTune, one epoch of the built-in instructions.

python train.py --config=configs/tiny.py
python train.py --config=configs/finetune.py --config.init_from=runs/tiny

`--config.adapters.kind=none --config.optim.lr=1e-3` trains all parameters instead.

Your own pairs, in any of the common shapes (mmrec_jax/data/conversations/records.py):

python train.py --config=configs/finetune.py --workdir=runs/pairs --config.init_from=RUN \
  --config.data.source=instructions --config.data.train=pairs.jsonl

The loss and the bits per byte are those of the responses alone. Held-out responses are scored
before the first step and at the end.
"""

from mmrec_jax.config import (
    AdapterConfig,
    Config,
    NoiseConfig,
    OptimConfig,
    TrainConfig,
)
from mmrec_jax.data.kinds.instructions import TreebankInstructionsConfig


def get_config() -> Config:
    """The run; every field can be overridden on the command line."""
    return Config(
        init_from="runs/tiny",
        adapters=AdapterConfig(kind="dora", rank=8),
        data=TreebankInstructionsConfig(seq_len=256),
        optim=OptimConfig(lr=3e-3, warmup_steps=20),
        noise=NoiseConfig(alpha=5.0),
        train=TrainConfig(
            epochs=1.0,
            batch_size=4,
            eval_first=True,
            eval_every=200,
            checkpoint_every=100,
            sample_prompt="Bu sözcüklerin köklerini yaz: evlerden, gözlükçü",
        ),
    )
