"""A model as a folder that stands alone: for `transformers`, for us, or as a run to begin with."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

from mmrec_jax.adapter_config import AdapterConfig, ExtendConfig
from mmrec_jax.checkpoints.checkpointer import Checkpointer
from mmrec_jax.checkpoints.export import EXPORT_FORMAT, require_new_folder
from mmrec_jax.checkpoints.saved_model import TrainedModel
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config_tree import to_dict
from mmrec_jax.errors import UserError
from mmrec_jax.models.family_config import ExtendableConfig
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.models.vocabulary import one_table
from mmrec_jax.pretrained.writing import SHARD_BYTES, write_published
from mmrec_jax.tree import named_leaves


def publish(trained: TrainedModel, folder: str | Path, shard_bytes: int = SHARD_BYTES) -> list[str]:
    """Writes a model, its adapters merged, into a new folder.

    Old and new rows of a vocabulary become one table. A transformer's folder is one of Hugging
    Face, others have `EXPORT_FORMAT`.

    Returns:
      The names of the files.

    Raises:
      UserError: there is something in the folder, or it cannot be written.
    """
    target = require_new_folder(folder)
    if isinstance(trained.model, TransformerConfig):
        model = trained.model, trained.params, trained.tokenizer
        return write_published(target.root, *model, shard_bytes)
    facts = {"step": trained.step, **_write_files(target, trained)}
    EXPORT_FORMAT.write(target.model_file, named_leaves(one_table(trained.params)), facts)
    return [target.model_file.name, target.config.name, f"{target.tokenizer.name}/"]


def write_merged(trained: TrainedModel, folder: str | Path) -> None:
    """As `publish`, a folder like a run's, to begin with (`init_from`), not to continue."""
    target = require_new_folder(folder)
    facts = _write_files(target, trained)
    meta = facts | {"validation": None, "base": None}
    checkpointer = Checkpointer(target.checkpoints)
    params = one_table(trained.params)
    checkpointer.save(trained.step, {"params": params}, data={}, meta=meta, validation_loss=None)
    checkpointer.close()


def _write_files(target: Workdir, trained: TrainedModel) -> dict[str, Any]:
    """Writes config and tokenizer, and returns what is kept of both beside the parameters."""
    config = dataclasses.replace(
        trained.config, init_from="", adapters=AdapterConfig(), extend=ExtendConfig()
    )
    if isinstance(config.model, ExtendableConfig):
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, new_rows=0))
    try:
        target.root.mkdir(parents=True, exist_ok=True)
        shutil.copytree(Workdir(trained.root).tokenizer, target.tokenizer)
        target.write_config(config, trained.model.vocab_size)
    except OSError as error:
        raise UserError(f"{target.root}: cannot write: {error.strerror or error}") from None
    return {"config": to_dict(config), "tokenizer": trained.tokenizer.fingerprint}
