"""The named sizes of MM-Rec, tiny to 7B.

Slots and value size of a memory (S, K) are D / H: 32 to 64 in the small sizes, 128 from base on.
128 is kept there because a memory recalls about as many associations exactly as it has slots, and
because its price stays small: at base the state is 6 MiB a row in float32, as much as the keys and
values of 64 tokens of an attention model of that shape.
"""

from mmrec_jax.models.mmrec.config import MMRecConfig

# name: vocabulary, model width D, layers L, memories H, context
_TABLE = {
    "tiny": (5_000, 128, 4, 4, 1_024),
    "mini": (10_000, 256, 6, 4, 2_048),
    "small": (20_000, 512, 8, 8, 4_096),
    "base": (32_000, 1024, 12, 8, 8_192),
    "medium": (32_000, 2048, 16, 16, 16_384),
    "large": (32_000, 3072, 20, 24, 32_768),
    "7b": (32_000, 4096, 24, 32, 32_768),
}

SIZES: dict[str, MMRecConfig] = {
    name: MMRecConfig(
        vocab_size=vocab, model_dim=width, num_layers=layers, num_memories=memories, context=context
    )
    for name, (vocab, width, layers, memories, context) in _TABLE.items()
}
