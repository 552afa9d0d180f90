"""The compiled training steps of a run: one, or a plain one and one with the estimator."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from mmrec_jax.config import Config
from mmrec_jax.models.mmrec.model import MMRecLM
from mmrec_jax.objectives.vowel_harmony import HarmonyObjective
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.mesh import abstract_batch, replicated, state_shardings
from mmrec_jax.train.noise import Noise
from mmrec_jax.train.prepare import Prepared
from mmrec_jax.train.state import TrainState
from mmrec_jax.train.step import Batch, Metrics, make_train_step


class CompiledSteps:
    """Takes step `number` (from 1) of a run with the program that it needs.

    The program of the first step is there once this is made. The other one is compiled in the
    background when that step is done, which would be slowed down by it, and waited for when its
    own first step comes.
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
        self._ready: dict[bool, Any] = {first: self._compile(first)}
        self._coming: Future[Any] | None = None

    def __call__(self, number: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """The state after step `number`, and its metrics."""
        refresh = self._refreshes(number)
        if refresh not in self._ready:
            assert self._coming is not None
            self._ready[refresh] = self._coming.result()
        after: tuple[TrainState, Metrics] = self._ready[refresh](state, batch)
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
            p.config,
            p.mesh,
            p.model,
            p.optimizer,
            self._state,
            refresh,
            noise=p.noise,
            harmony=p.harmony,
        )


def compile_step(
    config: Config,
    mesh: Mesh,
    model: MMRecLM,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    refresh: bool,
    *,
    noise: Noise | None = None,
    harmony: HarmonyObjective | None = None,
) -> jax.stages.Compiled:
    """Compiles one update of a run, `(state, batch) -> (state, metrics)`; the state is donated.

    Args:
      config: the run.
      mesh: its devices.
      model: with the tokenizer's vocabulary and its time pieces fitted.
      optimizer: that of `config.optim`.
      state: arrays, or their shapes, dtypes and shardings.
      refresh: whether the step estimates the curvature.
      noise: on the embedded tokens, if any.
      harmony: an objective beside the next token, if any.
    """
    shardings = state_shardings(mesh, carry_state=config.train.carry_state)
    accumulate = config.train.accumulate
    estimator = None
    if refresh:
        estimator = make_estimator(model, config.optim, accumulate, config.adapters)
    step: Any = make_train_step(
        model,
        optimizer,
        accumulate,
        estimator,
        adapters=config.adapters,
        noise=noise,
        harmony=harmony,
    )
    return (
        jax.jit(step, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))
        .lower(state, abstract_batch(config, mesh))
        .compile()
    )
