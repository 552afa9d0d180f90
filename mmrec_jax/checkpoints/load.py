"""A trained model from its folder, for notebooks and the command line."""

import dataclasses
import os
from typing import Any

from mmrec_jax.checkpoints.trained_model import Step, choose_step, read_model
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.models.mmrec.model import MMRecLM

__all__ = ["choose_step", "load"]


def load(
    workdir: str | os.PathLike[str],
    step: Step = "best",
    *,
    adapter: str | os.PathLike[str] | None = None,
    training_parts: bool = False,
) -> tuple[MMRecLM, Any, Tokenizer]:
    """The model, parameters and tokenizer of a run.

    Args:
      workdir: the run's folder, or one that `mmrec export` wrote. Adapters of a run that trained
        such are put in.
      step: which checkpoint: the one with the lowest validation loss, the newest, or a step.
      adapter: a run that was trained on this one: its adapters (its best step) are put in.
      training_parts: keep what only training uses, the UBOO predictors.

    Returns:
      The model (without dropout), its parameters on the first device, and the
      tokenizer: what `mmrec_jax.generate` takes.

    Raises:
      UserError: there is no run or no such checkpoint, or the config or the tokenizer is not the
        one it was trained with, or the adapters belong to another base.
    """
    trained = read_model(workdir, step, adapter=adapter)
    config = dataclasses.replace(trained.model, dropout=0.0)
    params = trained.params
    if not training_parts:
        params["blocks"].pop("uboo", None)
        config = dataclasses.replace(config, use_uboo=False)
    return MMRecLM(config), params, trained.tokenizer
