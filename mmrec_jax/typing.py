"""The letters of all array dimensions, and the shape check for public functions.

| letter | dimension |
|---|---|
| `B` | batch |
| `T` | time, axis 1 everywhere |
| `D` | model width (`model_dim`) |
| `E` | recurrent width: channels of the short-term memory `h` |
| `H` | long-term memories per layer (`num_memories`) |
| `S` | slots of a memory: size of a key or query (`memory_slots`) |
| `K` | size of a value (`mem_dim`) |
| `F` | hidden width of the feed-forward layer (`ffn_dim`) |
| `R` | rank of the dynamic decay (`dpg_rank`) |
| `V` | vocabulary |
| `L` | layers |
| `C` | tokens in one chunk of the long-term memory's scan |

A letter stands for one size within a call: two arguments annotated with `T` must agree.
The checks run while JAX traces, so they cost nothing in a compiled step.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
from beartype import beartype
from jaxtyping import Bool, Float, Int, Integer, jaxtyped

Array = jax.Array
_F = TypeVar("_F", bound=Callable[..., Any])

__all__ = ["Array", "Bool", "Float", "Int", "Integer", "typed"]


def typed(function: _F) -> _F:
    """Checks the jaxtyping annotations of `function` at every (traced) call.

    Raises:
      jaxtyping.TypeCheckError: an argument has another rank, size or dtype kind than annotated.
    """
    checked: _F = jaxtyped(function, typechecker=beartype)  # type: ignore[assignment]
    return checked
