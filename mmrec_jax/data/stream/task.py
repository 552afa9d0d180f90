"""What a worker is told, and what it says when it fails."""

import dataclasses
from typing import Any

from mmrec_jax.data.stream.plan import StreamPlan


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker does.

    Attributes:
      plan: of the whole stream.
      numbers: its shards.
      positions: where each begins.
      tokenizer: kind and content.
      bundle: pieces in a message, at most.
    """

    plan: StreamPlan
    numbers: tuple[int, ...]
    positions: dict[int, dict[str, Any]]
    tokenizer: tuple[str, bytes]
    bundle: int


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why a worker ends.

    Attributes:
      message: a line for the user, or the traceback of a bug.
      by_user: which of the two.
    """

    message: str
    by_user: bool
