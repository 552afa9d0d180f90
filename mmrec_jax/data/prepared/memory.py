"""How much memory a preparation takes, and how many workers fit into some."""

import os
from collections.abc import Iterable

from mmrec_jax.data.process_memory import process_memory, tokenizer_memory
from mmrec_jax.errors import UserError

MB = 1e6

# A process with Python, NumPy and the tokenizers' libraries, and what a chunk in it needs.
_WORKER_BYTES = 110 * MB


def total_memory(pids: Iterable[int]) -> int:
    """Bytes of this process and of others together (`process_memory`)."""
    return sum(map(process_memory, (os.getpid(), *pids)))


def worker_bytes(tokenizer_bytes: int) -> float:
    """What a worker process will take, about."""
    return _WORKER_BYTES + tokenizer_memory(tokenizer_bytes)


def affordable_workers(wanted: int, budget: float, own: float, tokenizer_bytes: int) -> int:
    """How many of the wanted workers fit into a budget beside the `own` memory of this process.

    Raises:
      UserError: not even one does.
    """
    each = worker_bytes(tokenizer_bytes)
    fitting = int((budget - own) // each)
    if wanted and fitting < 1:
        raise UserError(
            f"--ram-mb is {budget / MB:,.0f}, but one worker process needs about "
            f"{each / MB:,.0f} MB beside the {own / MB:,.0f} MB of this one; raise it to at least "
            f"{(own + each) / MB:,.0f}"
        )
    return min(wanted, max(0, fitting))
