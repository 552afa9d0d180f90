"""Where a text stands: all that is needed to continue it as if it had never stopped."""

import dataclasses

import numpy as np

from mmrec_jax.models.mmrec.state import MMRecState
from mmrec_jax.typing import Bool, Float


@dataclasses.dataclass(frozen=True)
class TextState:
    """One document, read and written so far. Continuing it leaves it as it is: that is a fork.

    Attributes:
      memory: the model's state after the last token, one row.
      logits: float32, of the token that comes next. They are kept because `memory` does not give
        them: to compute them anew, the last token would be read, and written into it, twice.
      seen: the tokens of the document, which the repetition penalty needs.
      draws: tokens drawn so far. The random numbers of a draw depend on the seed and on this
        count, so a text continued with its seed is the text that was never interrupted.
      tail: the last ids, from which text is decoded across the border.
      pending: how many of them have no text yet: bytes of a character that is incomplete.
    """

    memory: MMRecState
    logits: Float[np.ndarray, "1 V"]
    seen: Bool[np.ndarray, "1 V"]
    draws: int
    tail: tuple[int, ...]
    pending: int = 0

    @property
    def tokens_read(self) -> int:
        """Tokens of the document so far, the begin token included."""
        return int(self.memory.position[0])
