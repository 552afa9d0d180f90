"""The run of `configs/tiny.py` with Sophia-G, which divides by an estimate of the curvature.

python train.py --config=configs/sophia.py
"""

import dataclasses

from mmrec_jax.config import Config, OptimConfig, TrainConfig
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.models.mmrec.sizes import SIZES


def get_config() -> Config:
    """The run; every field can be overridden on the command line."""
    # Memories and passed states are those of configs/tiny.py.
    model = dataclasses.replace(
        SIZES["tiny"],
        vocab_size=500,
        dropout=0.1,
        gamma_halflife_max=64,
        alpha_halflife_min=8,
        alpha_halflife_max=128,
    )
    return Config(
        model=model,
        data=TreebankConfig(seq_len=256),
        # b1, gamma and the decay are those of benchmarks/README.md, "What optimizers reach".
        optim=OptimConfig(
            name="sophia_g", lr=3e-3, warmup_steps=100, b1=0.9, gamma=0.03, weight_decay=0.2
        ),
        train=TrainConfig(
            steps=1500,
            batch_size=4,
            eval_every=300,
            checkpoint_every=100,
            state_passing=0.5,
            sample_prompt="Bir gün",
        ),
    )
