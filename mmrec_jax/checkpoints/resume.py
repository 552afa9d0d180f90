"""Whether a checkpoint belongs to the run that wants to continue from it."""

from collections.abc import Mapping
from typing import Any

from mmrec_jax.config import Config
from mmrec_jax.config_migration import upgrade
from mmrec_jax.config_tree import from_dict, leaves, override
from mmrec_jax.errors import UserError


def check_same_run(config: Config, saved: dict[str, Any], where: str) -> None:
    """Refuses to continue `saved`, the config in a checkpoint, under one that trains another model.

    The error names every field that differs, with both values.
    """
    begun = _read(saved, where)
    schedules = {config.optim.schedule, config.noise.schedule}
    free = {
        True: True,
        False: False,
        "length": schedules == {"constant"},
        "base": config.adapters.used,
    }
    now, before = ({name: leaf for name, *leaf in leaves(side)} for side in (config, begun))
    differing = []
    for name in sorted(now.keys() | before.keys()):
        (new, field), (old, other) = (side.get(name, ("absent", None)) for side in (now, before))
        facts = getattr(field or other, "metadata", {})
        if new != old and not free[facts.get("free", False)]:
            differing.append(f"config.{name} ({old!r} in the checkpoint, {new!r} now)")
    if differing:
        raise UserError(
            f"{where} belongs to another run: {'; '.join(differing)}. Use the old values, another "
            "--workdir, or --fresh to start anew"
        )


def as_begun(config: Config, saved: dict[str, Any], where: str) -> tuple[Config, list[str]]:
    """The config of this command, with the fields that `saved` is too old to have as they were.

    Such a field gets the value that an older run implied, where this command leaves it at today's
    default.

    Returns:
      The config, and what was taken over: `model.field=value`.
    """
    now = {name: value for name, value, _ in leaves(config)}
    begun, stored = _read(saved, where), upgrade(saved)
    kept = []
    for name, value, field in leaves(begun):
        facts = getattr(field, "metadata", {})
        if "absent" in facts and not _has(stored, name) and now.get(name) == field.default != value:
            kept.append(f"{name}={value}")
    assignments = [(name, value) for name, _, value in (each.partition("=") for each in kept)]
    return (override(config, assignments) if kept else config), kept


def _read(saved: dict[str, Any], where: str) -> Config:
    try:
        return from_dict(saved)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _has(plain: Any, path: str) -> bool:
    for name in path.split("."):
        if not isinstance(plain, Mapping) or name not in plain:
            return False
        plain = plain[name]
    return True


def check_same_tokenizer(now: str, saved: str, where: str) -> None:
    """Refuses a tokenizer whose fingerprint, and so the meaning of its ids, differs."""
    if now != saved:
        raise UserError(
            f"{where} was trained with another tokenizer ({saved[:12]} in the checkpoint, "
            f"{now[:12]} now): the tokenizer file or the training text has changed. Restore it, "
            "use another --workdir, or --fresh to start anew"
        )
