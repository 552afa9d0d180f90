"""What a run begins with: the parameters of another one, if its config names one."""

import dataclasses
from pathlib import Path
from typing import Any

from mmrec_jax.checkpoints.trained_model import TrainedModel, check_same_base, read_model
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.errors import UserError
from mmrec_jax.settings import role


def load_base(
    config: Config, folder: Workdir, meta: dict[str, Any] | None, where: str
) -> TrainedModel | None:
    """The model of `config.init_from`, if there is one.

    A run that is continued gets the step that it began with, whatever its base did since.

    Args:
      config: the run.
      folder: its folder.
      meta: of the checkpoint that it continues from; None: it begins.
      where: that checkpoint, for messages.

    Raises:
      UserError: there is no such run or step, or it is not the one that the run began with.
    """
    if not config.init_from:
        return None
    origin = Path(config.init_from).expanduser()
    if origin.resolve() == folder.root.resolve():
        raise UserError(f"config.init_from is {config.init_from}, the run's own --workdir")
    record = (meta or {}).get("base")
    base = read_model(origin, record["step"] if record else "best")
    if record:
        check_same_base(record, base, where)
    return base


def with_model_of(config: Config, base: TrainedModel) -> Config:
    """The config with the model of the base; how it is trained stays as it is."""
    names = [field.name for field in dataclasses.fields(base.model) if role(field) == "run"]
    values = {name: getattr(config.model, name) for name in names if hasattr(config.model, name)}
    return dataclasses.replace(config, model=dataclasses.replace(base.model, **values))
