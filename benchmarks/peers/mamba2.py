"""Mamba2 (arXiv 2405.21060): a state-space model with one decay a head, read in chunks of 256.

Its blocks have no feed-forward part, so that the width is what brings the parameters to size. A
head's state has 64 columns, where the published models have 128, and one group of B and C as there.
"""

from typing import Any

import transformers

from benchmarks.peers.published import Peer, Shape

_EXPAND, _STATE = 2, 64


def _build(shape: Shape, width: int) -> Any:
    config = transformers.Mamba2Config(
        vocab_size=shape.vocab_size,
        hidden_size=width,
        num_hidden_layers=shape.num_layers,
        num_heads=_EXPAND * width // shape.head_dim,
        head_dim=shape.head_dim,
        expand=_EXPAND,
        state_size=_STATE,
        n_groups=1,
        initializer_range=0.02,
        tie_word_embeddings=True,
    )
    return transformers.Mamba2ForCausalLM(config)


PEER = Peer(searched="model_dim", build=_build, cache_name="cache_params")
