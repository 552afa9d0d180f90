"""The model of a run, and what takes its steps: objectives, optimizer, the shapes of its state."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from numpy.typing import NDArray

from mmrec_jax.config import Config
from mmrec_jax.dora.adapted_model import adapt, adapter_rules, first_values
from mmrec_jax.errors import UserError
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.models.family_config import FamilyConfig
from mmrec_jax.models.growing_state import GrowingState
from mmrec_jax.models.noise import with_embedding_noise
from mmrec_jax.objectives.api import Objective
from mmrec_jax.optim.build import build_optimizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.train.mesh import abstract_on, row_devices, state_shardings
from mmrec_jax.train.state import TrainState, initial_state
from mmrec_jax.tree import named_leaves


def with_vocabulary(config: Config, tokenizer: Tokenizer) -> FamilyConfig:
    """The run's model with the rows of its vocabulary; `UserError` if it may not have as many."""
    if tokenizer.vocab_size > config.model.vocab_size:
        raise UserError(
            f"config.model.vocab_size is {config.model.vocab_size}, but the tokenizer has "
            f"{tokenizer.vocab_size} ids; raise it to at least that"
        )
    # A base may have more rows than its tokenizer ids; they are padding.
    rows = config.model.vocab_size if config.init_from else tokenizer.vocab_size
    family: FamilyConfig = dataclasses.replace(config.model, vocab_size=rows)
    return family


def build_model(
    config: Config,
    family: FamilyConfig,
    mesh: Mesh,
    base: Params | None,
    steps: int,
    noise_table: NDArray[np.float32] | None = None,
) -> LanguageModel:
    """The run's model: its family's, with adapters on the base and noise where the config says so.

    Under `jax.eval_shape` of a base's shapes it holds shapes, to plan with. `family` has the rows
    of the vocabulary. It is a `UserError` if an adapter rule does not fit the base.
    """
    rows = config.train.microbatch_rows // row_devices(mesh)
    model = family.fitted(rows, mesh.devices.flat[0].platform).build()
    adapters, noise = config.adapters, config.noise
    if adapters.used:
        assert base is not None  # the config asks for it
        model = adapt(
            model,
            base,
            adapter_rules(adapters, model),
            dropout=adapters.dropout,
            detach_norm=adapters.detach_norm,
        )
    if noise.alpha:
        until = steps if noise.schedule == "linear" else None
        model = with_embedding_noise(model, noise.alpha, steps=until, table=noise_table)
    return model


def first_params(config: Config, family: FamilyConfig, base: Params | None) -> dict[str, Any]:
    """What of the parameters begins with the base's values, by path. Traceable."""
    if base is None:
        return {}
    if config.adapters.used:
        return first_values(base, adapter_rules(config.adapters, family.build()))
    return named_leaves(base)


@dataclasses.dataclass(frozen=True)
class Parts:
    """What takes the steps of a run, beside its model."""

    objectives: dict[str, Objective]
    optimizer: optax.GradientTransformation
    new_state: Callable[[LanguageModel, dict[str, Any]], TrainState]  # of model, `first_params`
    state: TrainState  # shapes, dtypes and shardings


def assemble(
    config: Config,
    model: LanguageModel,
    tokenizer: Tokenizer,
    mesh: Mesh,
    steps: int,
    given: dict[str, Any],
) -> Parts:
    """The parts of a run; of `model` and `given` shapes and dtypes suffice."""
    train, keeps = config.train, config.train.carry_state or config.train.passes_states
    if keeps and isinstance(model.state_batch_axes, GrowingState | None):
        name, off = ("carry_state", False) if train.carry_state else ("state_passing", 0)
        expected = f"{off} with config.model.family {config.model.family!r}: "
        train.require(False, name, expected + "it keeps no state of a fixed size")
    objectives = build_objectives(config, model, tokenizer)
    new_rows = bool(getattr(model.config, "new_rows", 0))
    optimizer = build_optimizer(config.optim, steps, model.decays, new_rows=new_rows)

    def new_state(model: LanguageModel, given: dict[str, Any]) -> TrainState:
        rows = train.batch_size if keeps else None
        return initial_state(model, objectives, optimizer, train.seed, rows, given=given)

    state = jax.eval_shape(new_state, model, given)
    state = abstract_on(state, state_shardings(state, model, mesh))
    return Parts(objectives, optimizer, new_state, state)


def build_objectives(
    config: Config, model: LanguageModel, tokenizer: Tokenizer
) -> dict[str, Objective]:
    """The objectives of `config.objectives`, by name."""
    return {
        name: objective.build(model, tokenizer) for name, objective in config.objectives.items()
    }
