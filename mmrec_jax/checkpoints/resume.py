"""Whether a checkpoint belongs to the run that wants to continue from it."""

from collections.abc import Iterator
from typing import Any

from mmrec_jax.config import Config
from mmrec_jax.config_tree import from_dict, leaves
from mmrec_jax.errors import UserError


def check_same_run(config: Config, saved: dict[str, Any], where: str, begun: int = 0) -> None:
    """Refuses a config under which `saved`, that of a checkpoint, would train another model.

    Of `config.stages` the first `begun` have begun; those behind them are still free.

    The `UserError` names every field that differs, with both values.
    """
    try:
        run = from_dict(saved)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    schedules = {config.optim.schedule, config.noise.schedule}
    free = {
        True: True,
        False: False,
        "length": schedules == {"constant"},
        "base": config.adapters.used,
    }
    now, before = ({name: leaf for name, *leaf in _leaves(side, begun)} for side in (config, run))
    differing = []
    for name in sorted(now.keys() | before.keys()):
        (new, field), (old, other) = (side.get(name, ("absent", None)) for side in (now, before))
        facts = getattr(field or other, "metadata", {})
        if new != old and not free[facts.get("free", False)]:
            differing.append(f"config.{name} ({old!r} in the checkpoint, {new!r} now)")
    if differing:
        raise UserError(
            f"{where} belongs to another run: {'; '.join(differing)}. Use the old values, another "
            "--workdir, or train anew with --fresh"
        )


def _leaves(config: Config, begun: int) -> Iterator[tuple[str, Any, Any]]:
    """`config_tree.leaves`, of the stages those alone that have begun."""
    yield from (leaf for leaf in leaves(config) if leaf[0] != "stages")
    for number, stage in enumerate(config.stages[:begun]):
        yield from leaves(stage, f"stages[{number}].")


def check_same_tokenizer(now: str, saved: str, where: str) -> None:
    """Refuses a tokenizer whose fingerprint, and so the meaning of its ids, differs."""
    if now != saved:
        raise UserError(
            f"{where} was trained with another tokenizer ({saved[:12]} in the checkpoint, "
            f"{now[:12]} now): the tokenizer file or the training text has changed. Restore it, "
            "use another --workdir, or train anew with --fresh"
        )
