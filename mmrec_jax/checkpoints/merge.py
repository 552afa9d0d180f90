"""A model with its adapters put in, as the checkpoint of a run of its own."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp

from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.trained_model import TrainedModel
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import AdapterConfig, Config
from mmrec_jax.config_tree import to_dict
from mmrec_jax.errors import UserError
from mmrec_jax.train.state import TrainState


def write_merged(place: Workdir, model: TrainedModel) -> None:
    """Writes a folder that can be read like any run, and begun with (`init_from`), not continued.

    Raises:
      UserError: it cannot be written.
    """
    config = stand_alone(model.config)
    try:
        place.root.mkdir(parents=True, exist_ok=True)
        shutil.copytree(Workdir(model.root).tokenizer, place.tokenizer)
        place.write_config(config, model.model.vocab_size)
    except OSError as error:
        raise UserError(f"{place.root}: cannot write: {error.strerror or error}") from None
    state = TrainState(
        step=jnp.asarray(model.step, jnp.int32),
        params=model.params,
        opt_state=(),
        key=jax.random.key_data(jax.random.key(0)),
    )
    meta = {
        "config": to_dict(config),
        "tokenizer": model.tokenizer.fingerprint,
        "validation": None,
        "base": None,
    }
    checkpointer = Checkpointer(place.checkpoints)
    checkpointer.save(state, data={}, meta=meta, validation_loss=None)
    checkpointer.close()


def stand_alone(config: Config) -> Config:
    """The config of a model that needs no base."""
    return dataclasses.replace(config, init_from="", adapters=AdapterConfig())
