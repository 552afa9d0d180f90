"""The compiled training steps of a run: one, or a plain one and one with the estimator."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax

from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.mesh import abstract_batch, replicated, state_shardings
from mmrec_jax.train.prepare import Prepared
from mmrec_jax.train.state import TrainState
from mmrec_jax.train.step import Batch, Metrics, make_train_step

_Compiled = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


class CompiledSteps:
    """Takes step `number` (from 1) of a run with the program that it needs.

    The program of the first step is there once this is made; the other is compiled in the
    background and waited for when its first step comes.
    """

    def __init__(self, p: Prepared) -> None:
        """Compiles for the step after `p.start`."""
        self._p = p
        self._state = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), p.state
        )
        optim = p.config.optim
        self._every = optim.hessian_every if optim.uses_hessian else None
        first = self._refreshes(p.start + 1)
        self._ready: dict[bool, _Compiled] = {first: self._compile(first)}
        self._coming: Future[_Compiled] | None = None
        if self._every is not None and self._every > 1:
            background = ThreadPoolExecutor(1, "compile")
            self._coming = background.submit(self._compile, not first)
            background.shutdown(wait=False)

    def __call__(self, number: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """The state after step `number`, and its metrics."""
        refresh = self._refreshes(number)
        if refresh not in self._ready:
            assert self._coming is not None
            self._ready[refresh] = self._coming.result()
        return self._ready[refresh](state, batch)

    def _refreshes(self, number: int) -> bool:
        """Steps 1, 1 + k, 1 + 2 k, ... of the run, not of the session."""
        return self._every is not None and (number - 1) % self._every == 0

    def _compile(self, refresh: bool) -> _Compiled:
        p = self._p
        config = p.config
        shardings = state_shardings(p.mesh, carry_state=config.train.carry_state)
        accumulate = config.train.accumulate
        estimator = make_estimator(p.model, config.optim, accumulate) if refresh else None
        step: Any = make_train_step(p.model, p.optimizer, accumulate, estimator, p.harmony)
        compiled: _Compiled = (
            jax.jit(step, donate_argnums=0, out_shardings=(shardings, replicated(p.mesh)))
            .lower(self._state, abstract_batch(config, p.mesh))
            .compile()
        )
        return compiled
