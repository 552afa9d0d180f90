"""The run of `configs/tiny.py` with what the project knows of Turkish.

python train.py --config=configs/turkish.py

The `vowel_harmony` objective is trained on and measured; continuations of validation documents are
scored at each evaluation (`metrics.jsonl`, split "turkish"). `--config.turkish.suffix_weight=1.5`
would make the tokens behind the roots of words count more in the loss.
"""

import dataclasses

from mmrec_jax.config import Config, OptimConfig, TrainConfig, TurkishConfig
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.objectives.config import Objectives
from mmrec_jax.objectives.vowel_harmony import VowelHarmonyConfig


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
        optim=OptimConfig(lr=3e-3, warmup_steps=50),
        train=TrainConfig(
            steps=1500,
            batch_size=4,
            eval_every=300,
            checkpoint_every=100,
            state_passing=0.5,
            sample_prompt="Bir gün",
        ),
        objectives=Objectives(vowel_harmony=VowelHarmonyConfig(weight=0.3)),
        turkish=TurkishConfig(scored_samples=8),
    )
