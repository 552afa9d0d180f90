"""A model as the probes see it: it reads tokens, predicts the next one, and keeps a state."""

import dataclasses
from collections.abc import Callable
from typing import Any

from mmrec_jax.models.mmrec.model import MMRecLM, forward
from mmrec_jax.models.mmrec.state import zero_state
from mmrec_jax.typing import Array


@dataclasses.dataclass(frozen=True)
class Reader:
    """A causal language model with a state; any will do.

    Attributes:
      forward: `(params, tokens, state, segment_ids) -> (logits, state)`, can be traced by JAX:
        int32 [B, T], 0 in `segment_ids` at padding, float32 [B, T, V].
      params: the parameters.
      zero_state: the state of B rows that have read nothing.
    """

    forward: Callable[[Any, Array, Any, Array], tuple[Array, Any]]
    params: Any
    zero_state: Callable[[int], Any]


def model_reader(model: MMRecLM, params: Any) -> Reader:
    """The library's own model."""

    def read(params: Any, tokens: Array, state: Any, segment_ids: Array) -> tuple[Array, Any]:
        logits, after, _ = forward(model, params, tokens, state, segment_ids)
        return logits, after

    return Reader(read, params, lambda rows: zero_state(model.config, rows))
