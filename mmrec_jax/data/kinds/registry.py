"""The kinds of data, by the name that `config.data.source` has."""

from mmrec_jax.data.kinds.config import DataConfig
from mmrec_jax.registry import Registry

DATA_KINDS: Registry[type[DataConfig]] = Registry(
    "kind of data",
    {
        "treebank": "mmrec_jax.data.kinds.text:TreebankConfig",
        "manual": "mmrec_jax.data.kinds.text:ManualConfig",
        "text": "mmrec_jax.data.kinds.text:TextConfig",
        "prepared": "mmrec_jax.data.kinds.text:PreparedConfig",
        "instructions": "mmrec_jax.data.kinds.instructions:InstructionsConfig",
        "treebank_instructions": "mmrec_jax.data.kinds.instructions:TreebankInstructionsConfig",
        "parity": "mmrec_jax.data.kinds.tasks:ParityConfig",
        "modular": "mmrec_jax.data.kinds.tasks:ModularConfig",
        "mqar": "mmrec_jax.data.kinds.tasks:MqarConfig",
        "induction": "mmrec_jax.data.kinds.tasks:InductionConfig",
        "k_hop": "mmrec_jax.data.kinds.tasks:KHopConfig",
        "needle": "mmrec_jax.data.kinds.tasks:NeedleConfig",
    },
)
