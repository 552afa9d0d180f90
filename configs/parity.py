"""Parity of a bit string, by one layer of the short-term memory: learnt from at most 40 bits.

python train.py --config=configs/parity.py

Measured on one CPU core: under half a minute of CPU time, compilation included; every sequence of
1,024 bits right with seeds 0 to 5. With `--config.model.gate=input`, which is linear in the state,
it stays at chance: see `benchmarks/README.md`.
"""

from mmrec_jax.config import (
    Config,
    OptimConfig,
    TokenizerConfig,
    TrainConfig,
)
from mmrec_jax.data.kinds.tasks import ParityConfig
from mmrec_jax.models.mmrec.config import MMRecConfig


def get_config() -> Config:
    """The run; every field can be overridden on the command line."""
    return Config(
        model=MMRecConfig(
            vocab_size=4,  # two bits, and the begin and end that every tokenizer has
            model_dim=64,
            num_layers=1,
            memory="none",
            gate="state",
            gate_init_scale=1.0,  # at 0 the gate begins linear in the state
            context=40,
            # Channels slower than the examples are long go on to values that training never
            # showed: with the default of 512, seed 2 fails at length 1,024.
            gamma_halflife_max=16.0,
        ),
        data=ParityConfig(seq_len=40, max_length=40, eval_lengths=(40, 256, 1024)),
        tokenizer=TokenizerConfig(kind="char"),
        optim=OptimConfig(lr=5e-3, warmup_steps=20, weight_decay=0.0),
        train=TrainConfig(
            steps=300,
            batch_size=64,
            devices=1,
            eval_every=100,
            checkpoint_every=100,
            sample_tokens=0,
        ),
    )
