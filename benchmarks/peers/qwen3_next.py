"""Qwen3-Next: three layers with the gated delta rule (arXiv 2412.06464), then one of attention.

Its feed-forward parts are dense here: 512 experts make no sense at this size.
"""

from typing import Any

import transformers

from benchmarks.peers.published import Peer, Shape


def _build(shape: Shape, ffn_dim: int) -> Any:
    heads = shape.num_heads
    config = transformers.Qwen3NextConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.model_dim,
        intermediate_size=ffn_dim,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 4),
        head_dim=shape.head_dim,
        linear_num_key_heads=max(1, heads // 2),  # half of the values', as published
        linear_num_value_heads=heads,
        linear_key_head_dim=shape.head_dim,
        linear_value_head_dim=shape.head_dim,
        num_experts=0,
        tie_word_embeddings=True,
    )
    return transformers.Qwen3NextForCausalLM(config)


PEER = Peer(searched="ffn_dim", build=_build)
