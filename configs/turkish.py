"""The run of `configs/tiny.py` with what the project knows of Turkish.

python train.py --config=configs/turkish.py

The `vowel_harmony` objective is trained on and measured; continuations of validation documents are
scored at each evaluation (`metrics.jsonl`, split "turkish"). `--config.turkish.suffix_weight=1.5`
would make the tokens behind the roots of words count more in the loss.
"""

import dataclasses

from ml_collections import ConfigDict

from mmrec_jax.config import Config, DataConfig, TrainConfig
from mmrec_jax.config_tree import to_config_dict
from mmrec_jax.models.mmrec.sizes import SIZES
from mmrec_jax.optim_config import OptimConfig
from mmrec_jax.turkish_config import TurkishConfig


def get_config() -> ConfigDict:
    """The run; every field can be overridden on the command line."""
    model = dataclasses.replace(SIZES["tiny"], vocab_size=500, dropout=0.1)
    return to_config_dict(
        Config(
            model=model,
            data=DataConfig(source="treebank", seq_len=256),
            optim=OptimConfig(lr=3e-3, warmup_steps=50),
            train=TrainConfig(
                steps=1500,
                batch_size=4,
                eval_every=300,
                checkpoint_every=100,
                sample_prompt="Bir gün",
            ),
            turkish=TurkishConfig(vowel_harmony=0.3, scored_samples=8),
        )
    )
