"""How well the input keeps up with training."""

import time
from collections.abc import Callable, Sequence

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.train_iterator import TrainIterator
from mmrec_jax.train.processes import gather

_MOST_WARNINGS = 1000
# Of several processes that which holds up the others; "epochs" are averaged, other numbers added.
_WORST: dict[str, Callable[..., float]] = {"input_wait": max, "ready_batches": min}


class InputMonitor:
    """Hands out batches and measures the wait for them, a window of steps at a time."""

    def __init__(self, batches: TrainIterator) -> None:
        """Lets the input begin to work: soon a batch is needed."""
        self._batches = batches
        self._warned: set[str] = set()
        batches.start()
        self.begin_window()

    def __next__(self) -> Batch:
        start = time.perf_counter()
        batch = next(self._batches)
        self._waited += time.perf_counter() - start
        return batch

    def begin_window(self) -> None:
        """Measures from now on."""
        self._begun, self._waited = time.perf_counter(), 0.0

    def metrics(self) -> dict[str, float]:
        """`input_wait`, the share of the window's time spent waiting; and what the input says.

        Of all processes together: all must call this at the same time.
        """
        elapsed = max(time.perf_counter() - self._begun, 1e-9)
        own = {"input_wait": self._waited / elapsed, **self._batches.metrics()}
        return joined_metrics(gather(own))

    def warnings(self) -> list[str]:
        """What was left out of the data since the last call; each line once, 1,000 in all."""
        lines = dict.fromkeys(self._batches.warnings())
        fresh = [line for line in lines if line not in self._warned]
        fresh = fresh[: _MOST_WARNINGS - len(self._warned)]
        self._warned.update(fresh)
        return fresh


def joined_metrics(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """`InputMonitor.metrics` of all processes, from those of each, which may lack some of them."""
    joined: dict[str, float] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [part[name] for part in parts if name in part]
        if name.startswith("epochs"):
            joined[name] = sum(values) / len(values)
        else:
            joined[name] = _WORST.get(name, sum)(values)
    return joined
