"""What a run begins with: the parameters of another one, if its config names one."""

import contextlib
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax

from mmrec_jax import dora
from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.identity import OWN_FIELDS
from mmrec_jax.checkpoints.trained_model import TrainedModel, check_same_base, read_model
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.errors import UserError
from mmrec_jax.models.mmrec.config import ModelConfig
from mmrec_jax.train.adapter_rules import adapter_rules


def read_beginning(config: Config, place: Workdir, start: int) -> TrainedModel | None:
    """The model of `config.init_from`, as far as this run trains it; None without one.

    A run that is continued (`start` is not 0) gets the step that it began with, whatever its base
    did since.

    Raises:
      UserError: there is no such run or step, it is not the one that the run began with, it lacks
        what this run trains, or an adapter rule does not fit it.
    """
    if not config.init_from:
        return None
    origin = Path(config.init_from).expanduser()
    if origin.resolve() == place.root.resolve():
        raise UserError(f"config.init_from is {config.init_from}, the run's own --workdir")
    where = ""
    record: dict[str, Any] | None = None
    if start:
        where = str(place.checkpoints / str(start))
        with contextlib.closing(Checkpointer(place.checkpoints, read_only=True)) as checkpointer:
            record = checkpointer.read_meta(start).get("base")
    base = read_model(origin, record["step"] if record else "best")
    if record:
        check_same_base(record, base, where)
    if config.model.use_uboo and "uboo" not in base.params["blocks"]:
        raise UserError(
            f"config.model.use_uboo is True, but {origin} was trained without it and has no "
            "predictors; set it to False"
        )
    if not config.model.use_uboo:
        base.params["blocks"].pop("uboo", None)
    rules = adapter_rules(config.adapters)
    if rules:
        jax.eval_shape(partial(dora.init, rules=rules), jax.random.key(0), base.params)
    return base


def with_model_of(config: Config, base: TrainedModel) -> Config:
    """The config with the model of the base; how it is trained stays as it is."""
    own = {name: getattr(config.model, name) for name in OWN_FIELDS}
    model: ModelConfig = dataclasses.replace(base.model, **own)
    return dataclasses.replace(config, model=model)
