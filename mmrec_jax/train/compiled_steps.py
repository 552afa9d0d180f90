"""The compiled programs of a run: for each shape of a batch a step, and with Sophia a refresh.

Programs are kept on disk, so that a run that continues does not compile again.
"""

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from mmrec_jax.config import Config
from mmrec_jax.data.files.paths import cache_folder
from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel
from mmrec_jax.objectives.api import Batch, Objective, weight_schedule
from mmrec_jax.train.estimator import make_estimator
from mmrec_jax.train.mesh import abstract_batch, distribute, replicated
from mmrec_jax.train.stages import factors
from mmrec_jax.train.state import TrainState
from mmrec_jax.train.step import Factors, Metrics, Schedule, make_refresh, make_train_step
from mmrec_jax.typing import Array

if TYPE_CHECKING:
    from mmrec_jax.train.setup import Setup
    from mmrec_jax.train.stages import Stage


class CompiledSteps:
    """Takes step `number` (from 1) of a run with the programs that it needs.

    Those of each shape of a stage (`Stage.shape`) are compiled once: of the stage that is entered
    before anything else, and of the next one in the background.
    """

    def __init__(self, p: "Setup") -> None:
        """Compiles for the stage that the run is in."""
        self._p = p
        self._ready: dict[Any, Future[tuple[Any, Any]]] = {}
        self._background = ThreadPoolExecutor(1)
        self.enter(p.stage)

    def enter(self, stage: "Stage") -> None:
        """The steps to come are of this stage; returns when its programs are there."""
        self._stage = stage
        self._number: tuple[Array, ...] = ()
        if len(self._p.stages) > 1:
            number = jnp.asarray(stage.number, jnp.int32)
            self._number = (distribute(number, replicated(self._p.mesh)),)
        for each in self._p.stages[stage.number : stage.number + 2]:
            if each.shape not in self._ready:
                self._ready[each.shape] = self._background.submit(self._compile, each)
        self._ready[stage.shape].result()

    def __call__(self, number: int, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        """The state after step `number`, and its metrics."""
        model = self._p.model_of(self._stage)
        step, refresh = self._ready[self._stage.shape].result()
        # Before steps 1, 1 + k, 1 + 2 k, ... of the run, not of the session.
        if refresh is not None and (number - 1) % self._p.config.optim.hessian_every == 0:
            state = refresh(model, state, batch)
        after: tuple[TrainState, Metrics] = step(model, state, batch, *self._number)
        return after

    def close(self) -> None:
        """Forgets programs whose compilation has not begun."""
        self._background.shutdown(wait=False, cancel_futures=True)

    def _compile(self, stage: "Stage") -> tuple[Any, Any]:
        """A stage's step, and the refresh of the curvature where the optimizer has one."""
        p = self._p
        run, state = (stage.config, p.mesh, p.model_of(stage)), p.abstract_state(stage)
        step = lower_step(*run, p.objectives, p.optimizer, state, factors(p.stages)).compile()
        if not p.config.optim.uses_hessian:
            return step, None
        return step, lower_refresh(*run, state).compile()


def lower_step(
    config: Config,
    mesh: Mesh,
    model: LanguageModel,
    objectives: Mapping[str, Objective],
    optimizer: optax.GradientTransformation,
    state: TrainState,
    factors: Factors | None = None,
) -> jax.stages.Lowered:
    """One update of a run, `make_train_step`'s; donates the state.

    The model has the tokenizer's vocabulary and its time chunk fitted; of its arrays and of `state`
    shapes, dtypes and shardings suffice, and the devices of the mesh need not be here. `config` is
    that of a stage, `factors` are those of all.
    """
    passing = _state_passing(config)
    step = make_train_step(optimizer, objectives, config.train.accumulate, passing, factors)
    shardings = jax.tree.map(lambda x: x.sharding, state)
    program = jax.jit(step, donate_argnums=1, out_shardings=(shardings, replicated(mesh)))
    number: tuple[Any, ...] = ()
    if factors is not None:
        number = (jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated(mesh)),)
    with jax.set_mesh(mesh):
        return program.lower(model, state, abstract_batch(config, mesh), *number)


def lower_refresh(
    config: Config, mesh: Mesh, model: LanguageModel, state: TrainState
) -> jax.stages.Lowered:
    """Sophia's refresh before a step, `make_refresh`'s; the rest as for `lower_step`."""
    main = config.objectives.get("cross_entropy")
    chunk = None if main is None else main.chunk
    estimator = make_estimator(config.optim, config.train.accumulate, chunk)
    refresh = make_refresh(estimator, config.optim.B2, _state_passing(config))
    shardings = jax.tree.map(lambda x: x.sharding, state)
    program = jax.jit(refresh, donate_argnums=1, out_shardings=shardings)
    with jax.set_mesh(mesh):
        return program.lower(model, state, abstract_batch(config, mesh))


def _state_passing(config: Config) -> Schedule | None:
    train = config.train
    return weight_schedule(train.state_passing) if train.passes_states else None


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
