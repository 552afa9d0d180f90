"""The peers from `transformers` by name. Needs torch and transformers, no JAX."""

from typing import Any

import torch
import transformers

from benchmarks.peers import mamba2, qwen3, qwen3_next, recurrent_gemma, xlstm
from benchmarks.peers.published import Peer, Shape, count_parameters

PEERS = {
    "qwen3": qwen3.PEER,
    "recurrent-gemma": recurrent_gemma.PEER,
    "mamba2": mamba2.PEER,
    "qwen3-next": qwen3_next.PEER,
    "xlstm": xlstm.PEER,
}
_SEED = 0


def random_model(name: str, fields: dict[str, Any]) -> tuple[dict[str, Any], Peer, Any]:
    """A peer of the size asked for: `(facts, peer, model)`.

    Args:
      name: of `PEERS`.
      fields: of `Shape`.

    Returns:
      `facts` are `parameters`, `searched` (the number that was searched for them) and `version`.
    """
    transformers.logging.set_verbosity_error()
    peer, shape = PEERS[name], Shape(**fields)
    size = peer.size(shape)
    torch.manual_seed(_SEED)
    model = peer.build(shape, size)
    facts = {
        "parameters": count_parameters(model),
        "searched": f"{peer.searched} {size}",
        "version": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }
    return facts, peer, model
