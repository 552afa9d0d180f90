"""Whether a checkpoint belongs to the run that wants to continue from it."""

from typing import Any

from mmrec_jax.config import Config
from mmrec_jax.config_tree import complete_stored, to_dict
from mmrec_jax.errors import UserError

# Fields that do not change what is learnt: they may differ between a run and its continuation.
_FREE = frozenset(
    {
        "data.on_error",  # it stopped at a bad record, and goes on without it
        "data.ram_mb",
        "data.stream_workers",
        "data.tfds_dir",
        "model.newton_passes",
        "model.remat",
        "model.scan",
        "task.eval_lengths",
        "task.eval_sequences",
        "train.devices",
        "train.target_loss",
        "train.log_every",
        "train.eval_every",
        "train.eval_first",
        "train.eval_batches",
        "train.eval_carry",
        "train.dashboard",
        "train.sample_prompt",
        "train.sample_tokens",
        "train.checkpoint_every",
        "train.keep_last",
        "train.keep_best",
        "train.profile_steps",
        "turkish.scored_samples",
    }
)
# With adapters the base itself is compared, wherever it lies (`checkpoints/trained_model.py`).
_BASE = frozenset({"init_from"})
# The length matters only through schedules.
_LENGTH = frozenset({"train.steps", "train.epochs", "train.tokens"})


def check_same_run(config: Config, saved: dict[str, Any], where: str) -> None:
    """Refuses to continue a run under a config that would train another model.

    Args:
      config: the config of this command.
      saved: the config stored in the checkpoint, as plain dicts.
      where: the checkpoint, for the message.

    Raises:
      UserError: naming every field that differs, with both values.
    """
    now, before = _flat(to_dict(config)), _flat(complete_stored(saved))
    schedules = {config.optim.schedule, config.train.neftune_schedule}
    free = _FREE | (_LENGTH if schedules == {"constant"} else frozenset())
    free |= _BASE if config.adapters.used else frozenset()
    differing = [
        f"config.{name} ({before.get(name, 'absent')!r} in the checkpoint, "
        f"{now.get(name, 'absent')!r} now)"
        for name in sorted(now.keys() | before.keys())
        if name not in free and now.get(name) != before.get(name)
    ]
    if differing:
        raise UserError(
            f"{where} belongs to another run: {'; '.join(differing)}. Use the old values, another "
            "--workdir, or --fresh to start anew"
        )


def check_same_tokenizer(now: str, saved: str, where: str) -> None:
    """Refuses to continue with a tokenizer whose ids mean something else.

    Args:
      now: fingerprint of the tokenizer of this command.
      saved: fingerprint stored in the checkpoint.
      where: the checkpoint, for the message.

    Raises:
      UserError: the fingerprints differ.
    """
    if now != saved:
        raise UserError(
            f"{where} was trained with another tokenizer ({saved[:12]} in the checkpoint, "
            f"{now[:12]} now): the tokenizer file or the training text has changed. Restore it, "
            "use another --workdir, or --fresh to start anew"
        )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
