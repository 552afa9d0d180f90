"""How well the input keeps up with training."""

import time

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.train_iterator import TrainIterator

_MOST_WARNINGS = 1000


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
        """`input_wait`, the share of the window's time spent waiting; and what the input says."""
        elapsed = max(time.perf_counter() - self._begun, 1e-9)
        return {"input_wait": self._waited / elapsed, **self._batches.metrics()}

    def warnings(self) -> list[str]:
        """What was left out of the data since the last call; each line once, 1,000 in all."""
        lines = dict.fromkeys(self._batches.warnings())
        fresh = [line for line in lines if line not in self._warned]
        fresh = fresh[: _MOST_WARNINGS - len(self._warned)]
        self._warned.update(fresh)
        return fresh
