"""What processes take of the machine's memory."""

import os
from collections.abc import Iterable
from pathlib import Path

from mmrec_jax.errors import UserError

MB = 1e6

# A process with Python, NumPy and the tokenizers' libraries, and what a chunk in it needs.
_WORKER_BYTES = 110 * MB
# In memory a tokenizer takes so many times its file: Qwen3's (11 MB) 120 MB.
_TOKENIZER_FACTOR = 11


def proportional_set_size(pid: int) -> int | None:
    """Bytes of a process's memory, shared pages divided by who shares them (PSS).

    None where the system does not say, or the process has ended.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("Pss:")]
    return int(sizes[0]) * 1024 if sizes else None


def total_memory(pids: Iterable[int]) -> int:
    """The PSS of this process and of others together; 0 where the system does not say."""
    return sum(proportional_set_size(pid) or 0 for pid in (os.getpid(), *pids))


def worker_bytes(tokenizer_bytes: int) -> float:
    """What a worker process will take, about."""
    return _WORKER_BYTES + _TOKENIZER_FACTOR * tokenizer_bytes


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
