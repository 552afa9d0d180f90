"""Qwen3 (arXiv 2505.09388): attention with grouped heads, normalised queries and keys."""

from typing import Any

import transformers

from benchmarks.peers.published import Peer, Shape


def _build(shape: Shape, ffn_dim: int) -> Any:
    config = transformers.Qwen3Config(
        vocab_size=shape.vocab_size,
        hidden_size=shape.model_dim,
        intermediate_size=ffn_dim,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=max(1, shape.num_heads // 2),  # half of them, as in Qwen3-0.6B
        head_dim=shape.head_dim,
        tie_word_embeddings=True,  # as in Qwen3-0.6B
    )
    return transformers.Qwen3ForCausalLM(config)


PEER = Peer(searched="ffn_dim", build=_build)
