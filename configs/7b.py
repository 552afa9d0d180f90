"""MM-Rec 7b, 7.44 billion parameters, trained from nothing on 32 TPU v5e chips, split over all.

mmrec plan --config=configs/7b.py --target=v5e:4x8

On each host of the slice run train.py with --distributed=auto; `config.data.train` is what
`mmrec data prepare` wrote. Parameters and AdamW's moments are float32, activations bfloat16.
`time_chunk` is the row of 2,048 tokens: a layer's weights are then gathered from all chips once in
a pass and not once in each chunk. Longer rows are read in chunks of that length, here on 8 chips:

mmrec plan --config=configs/7b.py --target=v5p:2x2x2 --config.train.batch_size=8 \
  --config.data.seq_len=32768
"""

import dataclasses

from mmrec_jax.config import Config, MeshConfig, OptimConfig, TrainConfig
from mmrec_jax.data.kinds.text import PreparedConfig
from mmrec_jax.models.mmrec.sizes import SIZES


def get_config() -> Config:
    """The run; every field can be overridden on the command line."""
    return Config(
        model=dataclasses.replace(SIZES["7b"], dtype="bfloat16", time_chunk=2048),
        data=PreparedConfig(train="prepared", seq_len=2048),
        optim=OptimConfig(lr=3e-4, warmup_steps=2000),
        mesh=MeshConfig(data=1, fsdp=-1),
        train=TrainConfig(
            tokens=150_000_000_000,  # 20 for each parameter
            batch_size=32,
            eval_every=1000,
            checkpoint_every=1000,
            sample_tokens=0,
        ),
    )
