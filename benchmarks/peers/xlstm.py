"""xLSTM (arXiv 2503.13427, mLSTM blocks) as in `transformers`; embedding and output not tied."""

from typing import Any

import transformers
from transformers.models.xlstm.modeling_xlstm import xLSTMCache

from benchmarks.peers.published import Peer, Shape

_MULTIPLE = 16


def _build(shape: Shape, ffn_dim: int) -> Any:
    config = transformers.xLSTMConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.model_dim,
        num_hidden_layers=shape.num_layers,
        num_heads=shape.num_heads,
        ffn_proj_factor=ffn_dim / shape.model_dim,
        ffn_round_up_to_multiple_of=_MULTIPLE,
        autocast_kernel_dtype="float32",
    )
    return transformers.xLSTMForCausalLM(config)


def _new_cache(model: Any) -> Any:
    return xLSTMCache(model.config, max_batch_size=1, dtype=model.dtype)


def _remembered(_model: Any, cache: Any) -> Any:
    return cache.rnn_state


PEER = Peer(
    searched="ffn_dim",
    build=_build,
    step=_MULTIPLE,
    cache_name="cache_params",
    new_cache=_new_cache,
    remembered=_remembered,
)
