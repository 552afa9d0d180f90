"""RecurrentGemma (arXiv 2404.07839): Griffin's gated linear recurrence and windowed attention.

The blocks go recurrent, recurrent, attention; the window is the published one, 2,048 tokens. The
recurrence is a loop over tokens in Python.
"""

from typing import Any

import transformers

from benchmarks.peers.published import Peer, Shape

_WINDOW = 2048


def _build(shape: Shape, ffn_dim: int, window: int = _WINDOW) -> Any:
    config = transformers.RecurrentGemmaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.model_dim,
        intermediate_size=2 * ffn_dim,  # of gate and value together
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=1,  # as published
        attention_window_size=window,
    )
    return transformers.RecurrentGemmaForCausalLM(config)


def _new_cache(model: Any) -> Any:
    for block in _recurrent_blocks(model):
        block.conv1d_state = None  # it then begins anew, the recurrence's state with it
    return transformers.DynamicCache(config=model.config)


def _remembered(model: Any, cache: Any) -> Any:
    blocks = _recurrent_blocks(model)
    return [
        [vars(layer) for layer in cache.layers],
        [(block.conv1d_state, block.rg_lru.recurrent_states) for block in blocks],
    ]


def _recurrent_blocks(model: Any) -> list[Any]:
    """The blocks that keep their state in themselves instead of in the cache."""
    return [module for module in model.modules() if hasattr(module, "conv1d_state")]


PEER = Peer(
    searched="ffn_dim",
    build=_build,
    new_cache=_new_cache,
    remembered=_remembered,
    takes_positions=True,
)
