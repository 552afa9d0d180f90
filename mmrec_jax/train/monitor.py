"""What the loop watches besides the loss: its input, Sophia's steps, its use of the device."""

import time
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from mmrec_jax.data.batch import Batch
from mmrec_jax.data.train_iterator import TrainIterator
from mmrec_jax.models.api import LanguageModel
from mmrec_jax.optim.config import OptimConfig
from mmrec_jax.train.processes import gather


class InputMonitor:
    """Hands out batches and measures the wait for them, a window of steps at a time."""

    def __init__(self, batches: TrainIterator) -> None:
        """Starts the input: a batch is needed soon."""
        self._batches = batches
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

    def metrics(self, read: Mapping[str, float]) -> dict[str, float]:
        """`input_wait`, the share of the window's time spent waiting; and what the input said.

        Of all processes together: all must call this at the same time.
        """
        elapsed = max(time.perf_counter() - self._begun, 1e-9)
        own = {"input_wait": self._waited / elapsed, **read}
        return joined_metrics(gather(own))


def joined_metrics(parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """`InputMonitor.metrics` of all processes, from those of each, which may lack some of them.

    Of "input_wait" that of the slowest, of "epochs" the mean, of other numbers the sum.
    """
    joined: dict[str, float] = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        values = [part[name] for part in parts if name in part]
        if name == "input_wait":
            joined[name] = max(values)
        else:
            joined[name] = sum(values) / (len(values) if name.startswith("epochs") else 1)
    return joined


_LOW, _HIGH = 0.1, 0.5  # the paper's healthy share of unclipped coordinates
_LEAST_RMS = 0.1  # of the clipped steps; below it the learning rate hardly matters
_WINDOW = 100  # steps in the running mean


class SophiaHealth:
    """Watches `sophia_unclipped` and `sophia_update_rms`; warns once in a session.

    Healthy steps are neither plain sign descent nor too small to be felt. Judgement begins when the
    curvature has averaged over 1 / (1 - b2) estimates, which the learning rate's warm-up may
    outlast: before that, nearly every coordinate is clipped.
    """

    def __init__(self, config: OptimConfig) -> None:
        average = config.hessian_every / (1 - config.B2)
        self._from = max(config.warmup_steps, average) + _WINDOW
        self._config = config
        self._means: dict[str, float] = {}
        self._warned = False

    def warning(self, step: int, metrics: Mapping[str, float]) -> str | None:
        """Takes the metrics of one step; one line if it is the first that is not healthy."""
        if "sophia_unclipped" not in metrics:
            return None
        for name in ("sophia_unclipped", "sophia_update_rms"):
            mean = self._means.get(name, metrics[name])
            self._means[name] = mean + (metrics[name] - mean) / _WINDOW
        if self._warned or step < self._from:
            return None
        unclipped, rms = self._means["sophia_unclipped"], self._means["sophia_update_rms"]
        gamma = self._config.GAMMA
        if unclipped < _LOW:
            remedy = (
                f"nearly every coordinate is clipped, which is sign descent; raise "
                f"config.optim.gamma (now {gamma:g}) or lower config.optim.lr"
            )
        elif unclipped > _HIGH or rms < _LEAST_RMS:
            remedy = f"steps are small; lower config.optim.gamma (now {gamma:g})"
        else:
            return None
        self._warned = True
        return (
            f"step {step:,}: {unclipped:.0%} of Sophia's coordinates are unclipped (healthy: "
            f"{_LOW:.0%} to {_HIGH:.0%}), the steps' root mean square is {rms:.2f}: {remedy}"
        )


_SIDE = 1024
_REPEATS = 5


def training_flops_per_token(model: LanguageModel, trained: int, frozen: int, length: int) -> float:
    """Floating-point operations of forward and backward pass, recomputation not counted.

    6 for each trained parameter (the tied embedding counts once: the lookup is free, the logits are
    not), 4 for a frozen one, which has no gradient of its own, and three times what the family
    counts beside its parameters in rows of `length` tokens.
    """
    return 6.0 * trained + 4.0 * frozen + 3 * model.mixing_flops(length)


def matmul_flops_per_second(dtype: str) -> float:
    """Rate of a square matrix product of side 1024 on the default device, best of five."""
    x = jnp.ones((_SIDE, _SIDE), dtype)
    product = jax.jit(jnp.dot)
    product(x, x).block_until_ready()
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        product(x, x).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2.0 * _SIDE**3 / best
