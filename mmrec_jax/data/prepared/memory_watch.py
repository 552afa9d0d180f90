"""Keeps the processes of a preparation within their memory."""

import time
from collections.abc import Callable, Iterable

from mmrec_jax.data.prepared.memory import MB, total_memory
from mmrec_jax.errors import UserError

INTERVAL = 0.25  # seconds between two looks

_HIGH = 0.85  # share of the budget from which on less is read ahead
_PATIENCE = 2.0  # seconds until a measure shows


class MemoryWatch:
    """Looks at the memory of a tree of processes now and then.

    Attributes:
      peak: the most that was seen, in bytes; 0 where the system does not say.
    """

    def __init__(
        self, budget: float, pids: Callable[[], Iterable[int]], shrink: Callable[[], bool]
    ) -> None:
        """Watches nothing yet.

        Args:
          budget: bytes that this process and others may take together.
          pids: the others.
          shrink: gives some memory back; False: it cannot.
        """
        self.peak = 0
        self._budget = budget
        self._pids = pids
        self._shrink = shrink
        self._looked = self._shrunk = time.monotonic()

    def look(self) -> None:
        """Looks if it is time to, and has memory given back if there is little left.

        Raises:
          UserError: more than the budget is taken, and nothing can be given back.
        """
        now = time.monotonic()
        if now - self._looked < INTERVAL:
            return
        self._looked = now
        used = total_memory(self._pids())
        self.peak = max(self.peak, used)
        over = used > self._budget
        if not over and (used < _HIGH * self._budget or now - self._shrunk < _PATIENCE):
            return
        self._shrunk = now
        if not self._shrink() and over:
            raise UserError(
                f"the preparation takes {used / MB:,.0f} MB and --ram-mb allows "
                f"{self._budget / MB:,.0f}, with one worker and nothing read ahead; raise it: "
                "the same command continues"
            )
