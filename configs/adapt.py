"""A small English decoder learns Turkish: every stage of an adaptation, with what is built in.

mmrec adapt --config=configs/adapt.py --workdir=runs/adapt

The base is trained here, on the manual of Python's standard library; the text is the treebank.
Another base, and text of your own:

mmrec adapt --config=configs/adapt.py --workdir=runs/mine --config.base=RUN \
  --config.text='corpus/*.txt' --config.extension.vocab_size=8000
"""

from mmrec_jax.adapt.config import AdaptConfig, ExtensionConfig, TrainingConfig
from mmrec_jax.models.transformer.config import TransformerConfig


def get_config() -> AdaptConfig:
    """The adaptation; every field can be overridden on the command line."""
    return AdaptConfig(
        model=TransformerConfig(
            vocab_size=2048,
            model_dim=192,
            num_layers=4,
            num_heads=6,
            num_kv_heads=3,
            head_dim=32,
            ffn_dim=512,
            qk_norm=True,
            max_length=1024,
        ),
        # 424 kB of text is little: what occurs seldom in it says nothing of other text.
        extension=ExtensionConfig(vocab_size=2000, superwords=200),
        align=TrainingConfig(epochs=0.3, lr_factor=3.0, seq_len=128),
        first=TrainingConfig(epochs=1.2),
        second=TrainingConfig(epochs=1.6, lr_factor=0.7),
        third=TrainingConfig(epochs=1.2, lr_factor=0.5),
        instruct=TrainingConfig(epochs=0.5, lr_factor=0.5),
    )
