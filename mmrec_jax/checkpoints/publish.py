"""A model as a folder that stands alone: of a transformer for `transformers`, of others for us."""

from pathlib import Path

from mmrec_jax.checkpoints.export import require_new_folder, stand_alone, write_exported
from mmrec_jax.checkpoints.load import TrainedModel
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.models.transformer.config import TransformerConfig
from mmrec_jax.pretrained.writing import write_published


def publish(trained: TrainedModel, folder: str | Path, shard_bytes: int) -> list[str]:
    """Writes a model, its adapters merged, into a new folder.

    Returns:
      The names of the files.

    Raises:
      UserError: there is something in the folder, or it cannot be written.
    """
    target = require_new_folder(folder)
    if isinstance(trained.model, TransformerConfig):
        facts = trained.model, trained.params, trained.tokenizer, shard_bytes
        return write_published(target.root, *facts)
    write_exported(
        folder,
        stand_alone(trained.config),
        trained.params,
        trained.tokenizer,
        Workdir(trained.root).tokenizer,
        vocab_size=trained.model.vocab_size,
        step=trained.step,
    )
    return [target.model_file.name, target.config.name, f"{target.tokenizer.name}/"]
