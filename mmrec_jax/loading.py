"""A trained model from its workdir, for notebooks and the command line."""

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.data.tokenizer_cache import load_tokenizer
from mmrec_jax.errors import UserError
from mmrec_jax.nn.model import MMRecLM
from mmrec_jax.train.checkpoint import Checkpointer, abstract_on
from mmrec_jax.train.resume import check_same_run, check_same_tokenizer
from mmrec_jax.workdir import Workdir


def load(
    workdir: str | os.PathLike[str],
    step: int | Literal["best", "last"] = "best",
    *,
    training_parts: bool = False,
) -> tuple[MMRecLM, Any, Tokenizer]:
    """The model, parameters and tokenizer of a run.

    Args:
      workdir: the run's folder.
      step: which checkpoint: the one with the lowest validation loss, the newest, or a step.
      training_parts: keep what only training uses, the UBOO predictors.

    Returns:
      The model (without dropout), its parameters on the first device, and the
      tokenizer: what `mmrec_jax.generate` takes.

    Raises:
      UserError: there is no run or no such checkpoint, or the config or the tokenizer is not the
        one it was trained with.
    """
    place = Workdir(Path(workdir))
    config, vocab_size = place.read_config()
    chosen = choose_step(workdir, step)
    checkpointer = Checkpointer(place.checkpoints, read_only=True)
    tokenizer = load_tokenizer(place.tokenizer)
    where = str(place.checkpoints / str(chosen))
    meta = checkpointer.read_meta(chosen)
    check_same_run(config, meta["config"], where)
    check_same_tokenizer(tokenizer.fingerprint, meta["tokenizer"], where)

    trained = dataclasses.replace(config.model, vocab_size=vocab_size)
    tokens = jnp.zeros((1, 2), jnp.int32)
    abstract = jax.eval_shape(MMRecLM(trained).init, jax.random.key(0), tokens)["params"]
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    params = checkpointer.restore_params(chosen, abstract_on(abstract, here))
    checkpointer.close()
    trained = dataclasses.replace(trained, dropout=0.0)
    if not training_parts:
        params["blocks"].pop("uboo", None)
        trained = dataclasses.replace(trained, use_uboo=False)
    return MMRecLM(trained), params, tokenizer


def choose_step(
    workdir: str | os.PathLike[str], step: int | Literal["best", "last"] = "best"
) -> int:
    """The number of the checkpoint that `step` means in a run.

    Raises:
      UserError: there is no such checkpoint.
    """
    place = Workdir(Path(workdir))
    if not place.checkpoints.is_dir():
        raise UserError(f"{place.root}: the run has no checkpoint yet")
    checkpointer = Checkpointer(place.checkpoints, read_only=True)
    steps = checkpointer.all_steps()
    named = {"best": checkpointer.best_step(), "last": checkpointer.latest_step()}
    checkpointer.close()
    if not steps:
        raise UserError(f"{place.root}: the run has no complete checkpoint yet")
    chosen = named.get(str(step), step)
    if chosen not in steps:
        raise UserError(f"{place.checkpoints}: there is no checkpoint {step!r}; there are {steps}")
    return int(chosen)
