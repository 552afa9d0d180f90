"""The run of `optimizers.py`: a small model on the built-in Turkish treebank.

python train.py --config=benchmarks/optimizers_config.py --config.optim.name=sophia_g
"""

from mmrec_jax.config import Config, OptimConfig, TrainConfig
from mmrec_jax.data.kinds.text import TreebankConfig
from mmrec_jax.models.mmrec.config import MMRecConfig


def get_config() -> Config:
    """The run."""
    return Config(
        model=MMRecConfig(vocab_size=500, model_dim=64, num_layers=2, num_memories=2, context=128),
        data=TreebankConfig(seq_len=128),
        optim=OptimConfig(warmup_steps=30),
        train=TrainConfig(
            steps=300,
            batch_size=8,
            devices=1,
            log_every=10,
            eval_every=50,
            checkpoint_every=300,
            sample_tokens=0,
            dashboard=False,
        ),
    )
