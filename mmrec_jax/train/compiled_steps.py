"""The compiled training steps of a run: one, or a plain one and one with the estimator."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from mmrec_jax.config import Config
from mmrec_jax.models.api import LanguageModel
from mmrec_jax.objectives.api import Batch, Objective
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.mesh import abstract_batch, replicated
from mmrec_jax.train.setup import Setup
from mmrec_jax.train.state import TrainState
from mmrec_jax.train.step import Metrics, make_train_step


class CompiledSteps:
    """Takes step `number` (from 1) of a run with the program that it needs.

    The program of the first step is there once this is made. The other one is compiled in the
    background when that step is done, which would be slowed down by it, and waited for when its
    own first step comes.
    """

    def __init__(self, p: Setup) -> None:
        """Compiles for the step after `p.start`."""
        self._p = p
        self._state = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), p.state
        )
        optim = p.config.optim
        self._every = optim.hessian_every if optim.uses_hessian else None
        first = self._refreshes(p.start + 1)
        self._ready: dict[bool, Any] = {first: self._compile(first)}
        self._coming: Future[Any] | None = None

    def __call__(self, number: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """The state after step `number`, and its metrics."""
        refresh = self._refreshes(number)
        if refresh not in self._ready:
            assert self._coming is not None
            self._ready[refresh] = self._coming.result()
        after: tuple[TrainState, Metrics] = self._ready[refresh](self._p.model, state, batch)
        if self._every not in (None, 1) and self._coming is None:
            jax.block_until_ready(after)
            background = ThreadPoolExecutor(1, "compile")
            self._coming = background.submit(self._compile, not refresh)
            background.shutdown(wait=False)
        return after

    def _refreshes(self, number: int) -> bool:
        """Steps 1, 1 + k, 1 + 2 k, ... of the run, not of the session."""
        return self._every is not None and (number - 1) % self._every == 0

    def _compile(self, refresh: bool) -> Any:
        p = self._p
        return compile_step(
            p.config, p.mesh, p.model, p.objectives, p.optimizer, self._state, refresh
        )


def compile_step(
    config: Config,
    mesh: Mesh,
    model: LanguageModel,
    objectives: Mapping[str, Objective],
    optimizer: optax.GradientTransformation,
    state: TrainState,
    refresh: bool,
) -> jax.stages.Compiled:
    """Compiles one update of a run, `(model, state, batch) -> (state, metrics)`.

    The state is donated.

    Args:
      config: the run.
      mesh: its devices.
      model: with the tokenizer's vocabulary and its time chunk fitted.
      objectives: what is minimised.
      optimizer: that of `config.optim`.
      state: arrays, or their shapes, dtypes and shardings.
      refresh: whether the step estimates the curvature.
    """
    accumulate = config.train.accumulate
    estimator = make_estimator(config.optim, accumulate) if refresh else None
    step = make_train_step(optimizer, objectives, accumulate, estimator)
    shardings = jax.tree.map(lambda x: x.sharding, state)
    program = jax.jit(step, donate_argnums=1, out_shardings=(shardings, replicated(mesh)))
    return program.lower(model, state, abstract_batch(config, mesh)).compile()
