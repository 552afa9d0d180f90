"""What the peers from `transformers` share: their size, how they read, and what they remember.

They run as `transformers` runs them on a CPU, in its pure-torch code: the kernels of flash-attn,
mamba-ssm, causal-conv1d and flash-linear-attention are for GPUs.
"""

import bisect
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import transformers
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Shape:
    """What all models of one comparison have in common."""

    vocab_size: int  # V
    model_dim: int  # D
    num_layers: int  # L
    num_heads: int  # H
    parameters: int  # to come near to

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.model_dim // self.num_heads


def _new_cache(model: Any) -> Any:
    return transformers.DynamicCache(config=model.config)


def _layer_tensors(model: Any, cache: Any) -> Any:
    return [vars(layer) for layer in cache.layers]


@dataclasses.dataclass(frozen=True)
class Peer:
    """One kind of model."""

    searched: str  # the number of the config that brings the parameters to the size asked for
    build: Callable[[Shape, int], Any]  # the model from the shape and that number; V, random
    step: int = 16  # that number's multiple
    cache_name: str = "past_key_values"  # the argument that carries the state
    new_cache: Callable[[Any], Any] = _new_cache  # the state before the first token
    remembered: Callable[[Any, Any], Any] = _layer_tensors  # (model, cache) to nested tensors
    takes_positions: bool = False

    def size(self, shape: Shape) -> int:
        """The searched number with which the parameters are nearest to `shape.parameters`."""

        @functools.cache
        def parameters(units: int) -> int:
            with torch.device("meta"):
                return count_parameters(self.build(shape, units * self.step))

        above = 2
        while parameters(above) < shape.parameters:
            above *= 2
        units = bisect.bisect_left(range(above), shape.parameters, lo=2, key=parameters)
        nearest = min((units - 1, units), key=lambda n: abs(parameters(n) - shape.parameters))
        return nearest * self.step

    def logits(self, model: Any, tokens: Tensor) -> Tensor:
        """Reads whole rows from their beginning: `[B, T]` ids to `[B, T, V]`."""
        return model(input_ids=tokens, use_cache=False).logits

    def read(self, model: Any, tokens: Tensor, cache: Any, position: int) -> Tensor:
        """Reads on: ids `[B, T]` after `position` tokens to `[B, T, V]`; `cache` is updated."""
        arguments: dict[str, Any] = {self.cache_name: cache}
        if self.takes_positions:
            arguments["position_ids"] = torch.arange(position, position + tokens.shape[1])[None]
        return model(input_ids=tokens, use_cache=True, **arguments).logits

    def state_bytes(self, model: Any, cache: Any) -> int:
        """Bytes of what is kept from token to token, all rows together."""
        return sum(tensor.nbytes for tensor in _tensors(self.remembered(model, cache)))


def count_parameters(model: Any) -> int:
    """Scalars that are trained; what is shared counts once."""
    return sum(p.numel() for p in model.parameters())


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor) and tree.is_floating_point():
        yield tree
    elif isinstance(tree, dict):
        yield from _tensors(list(tree.values()))
    elif isinstance(tree, list | tuple):
        for entry in tree:
            yield from _tensors(entry)
