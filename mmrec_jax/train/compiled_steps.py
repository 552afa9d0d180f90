"""The compiled training steps of a run: one, or a plain one and one with the estimator.

Programs are kept on disk, so that a run that continues does not compile again.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import optax
from jax.sharding import Mesh

from mmrec_jax.config import Config
from mmrec_jax.data.files.paths import cache_folder
from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel
from mmrec_jax.objectives.api import Batch, Objective, weight_schedule
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.mesh import abstract_batch, replicated
from mmrec_jax.train.state import TrainState
from mmrec_jax.train.step import Metrics, make_train_step

if TYPE_CHECKING:
    from mmrec_jax.train.setup import Setup


class CompiledSteps:
    """Takes step `number` (from 1) of a run with the program that it needs.

    The program of the first step is there once this is made, the other one is compiled when its own
    first step comes.
    """

    def __init__(self, p: "Setup") -> None:
        """Compiles for the step after `p.start`."""
        self._p = p
        self._state = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), p.state
        )
        optim = p.config.optim
        self._every = optim.hessian_every if optim.uses_hessian else None
        first = self._refreshes(p.start + 1)
        self._ready: dict[bool, Any] = {first: self._compile(first)}

    def __call__(self, number: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """The state after step `number`, and its metrics."""
        refresh = self._refreshes(number)
        if refresh not in self._ready:
            self._ready[refresh] = self._compile(refresh)
        after: tuple[TrainState, Metrics] = self._ready[refresh](self._p.model, state, batch)
        return after

    def _refreshes(self, number: int) -> bool:
        """Steps 1, 1 + k, 1 + 2 k, ... of the run, not of the session."""
        return self._every is not None and (number - 1) % self._every == 0

    def _compile(self, refresh: bool) -> Any:
        p = self._p
        lowered = lower_step(
            p.config, p.mesh, p.model, p.objectives, p.optimizer, self._state, refresh
        )
        return lowered.compile()


def lower_step(
    config: Config,
    mesh: Mesh,
    model: LanguageModel,
    objectives: Mapping[str, Objective],
    optimizer: optax.GradientTransformation,
    state: TrainState,
    refresh: bool,
) -> jax.stages.Lowered:
    """One update of a run, `(model, state, batch) -> (state, metrics)`; donates the state.

    The model has the tokenizer's vocabulary and its time chunk fitted; of its arrays and of `state`
    shapes, dtypes and shardings suffice, and the devices of the mesh need not be here. With
    `refresh` the step estimates the curvature.
    """
    main = config.objectives.get("cross_entropy")
    chunk = None if main is None else main.chunk
    estimator = make_estimator(config.optim, config.train.accumulate, chunk) if refresh else None
    train = config.train
    passing = weight_schedule(train.state_passing) if train.passes_states else None
    step = make_train_step(optimizer, objectives, train.accumulate, estimator, passing)
    shardings = jax.tree.map(lambda x: x.sharding, state)
    program = jax.jit(step, donate_argnums=1, out_shardings=(shardings, replicated(mesh)))
    with jax.set_mesh(mesh):
        return program.lower(model, state, abstract_batch(config, mesh))


# Programs that compile faster than this are not worth a file.
_MIN_SECONDS = 0.5


def enable_compile_cache() -> None:
    """Makes JAX keep what it compiles in the user's cache, unless the user has chosen another.

    The user chooses with JAX_COMPILATION_CACHE_DIR. A program read back is the one that was
    written: results do not change by a bit.

    Raises:
      UserError: the folder belongs to another user, or others may write to it.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        directory = cache_folder("compiled")
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = directory.stat()
        except OSError:
            return  # a home that cannot be written: compile anew each time
        # Native code is run as it is found there.
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise UserError(
                f"{directory}: others can write to this cache of compiled programs; make it "
                "yours alone (chmod 700), or name another folder in JAX_COMPILATION_CACHE_DIR"
            )
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", _MIN_SECONDS)
