"""SmolLM2-135M learns Turkish: 8,000 new tokens, DoRA in float32.

mmrec adapt --config=configs/adapt_smollm2.py --workdir=runs/smollm2-tr \
  --config.text='turkish/*.txt' --config.english='english/*.txt'

`--config.base` takes a GGUF file or a folder as well. Its pre-tokeniser knows no superwords.
"""

from mmrec_jax.adapt.config import AdaptConfig, EvaluationConfig, ExtensionConfig, TrainingConfig
from mmrec_jax.config import AdapterConfig, OptimConfig
from mmrec_jax.models.transformer.config import TransformerConfig


def get_config() -> AdaptConfig:
    """The adaptation; every field can be overridden on the command line."""
    return AdaptConfig(
        base="HuggingFaceTB/SmolLM2-135M-Instruct",
        model=TransformerConfig(
            vocab_size=49_152,
            model_dim=576,
            num_layers=30,
            num_heads=9,
            num_kv_heads=3,
            head_dim=64,
            ffn_dim=1536,
            rope_theta=1e5,
            max_length=8192,
        ),
        extension=ExtensionConfig(vocab_size=8000, superwords=0),
        adapters=AdapterConfig(kind="dora", rank=16, alpha=32.0),
        optim=OptimConfig(lr=1e-3, warmup_steps=10),
        align=TrainingConfig(epochs=0.1, batch_size=2, lr_factor=3.0, seq_len=128),
        first=TrainingConfig(epochs=0.3, batch_size=2),
        second=TrainingConfig(epochs=0.4, batch_size=2, lr_factor=0.7),
        third=TrainingConfig(epochs=0.3, batch_size=2, lr_factor=0.5),
        instruct=TrainingConfig(epochs=0.2, batch_size=2, lr_factor=0.5),
        evaluation=EvaluationConfig(batch_size=2),
    )
