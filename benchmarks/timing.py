"""Timing of one step, repeated, and what else the machine did meanwhile.

Needs only the standard library: it is read by processes that have torch and by ones that have JAX.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mmrec_jax.memory import peak_memory

# What is timed; it returns the loss, if it has one.
Step = Callable[[], float | None]
_WARM_SECONDS = 2.0
_STAT = Path("/proc/stat")


def time_steps(
    step: Step, *, seconds: float, least: int = 2, warm_steps: int = 3
) -> Iterator[dict]:
    """Calls `step`, which waits for its result, again and again.

    First up to `warm_steps` steps or 2 s to warm up, one at least; then for `seconds`, `least`
    steps at least.

    Yields:
      After each step all that is known: `warm_seconds` and `step_seconds` (each a list, a number a
      step), `loss` (of the last step, or None), `peak_bytes` (resident memory of this process) and
      `others` (cores that other processes kept busy during the timed steps; None if not known).
    """
    warm: list[float] = []
    timed: list[float] = []
    mark = _others_seconds()
    while not warm or (len(warm) < warm_steps and sum(warm) < _WARM_SECONDS):
        loss = _timed(step, warm)
        mark = _others_seconds()
        yield _result(warm, timed, loss, None)
    while len(timed) < least or sum(timed) < seconds:
        loss = _timed(step, timed)
        now = _others_seconds()
        others = None if mark is None or now is None else max(0.0, now - mark) / sum(timed)
        yield _result(warm, timed, loss, others)


def _timed(step: Step, into: list[float]) -> float | None:
    start = time.perf_counter()
    loss = step()
    into.append(time.perf_counter() - start)
    return loss


def _result(
    warm: list[float], timed: list[float], loss: float | None, others: float | None
) -> dict:
    return {
        "warm_seconds": list(warm),
        "step_seconds": list(timed),
        "loss": loss,
        "peak_bytes": peak_memory(),
        "others": others,
    }


def _others_seconds() -> float | None:
    """Processor time since the start of the machine that was not this process's own."""
    if not _STAT.exists():
        return None
    user, nice, system, _idle, _wait, irq, soft, steal = map(
        int, _STAT.read_text().split("\n", 1)[0].split()[1:9]
    )
    busy = (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
    return busy - time.process_time()
