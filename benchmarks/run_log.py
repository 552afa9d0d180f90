"""Finished runs, a JSON line each, so that no run is done twice."""

import json
from pathlib import Path
from typing import Any

from mmrec_jax.config import Config
from mmrec_jax.config_tree import leaves, to_dict
from mmrec_jax.errors import UserError

# One run: `model`, `fields` (`changed_fields` of its config) and what `comparison.train` returns.
Record = dict[str, Any]
_PATHS = {"data.train", "data.validation", "tokenizer.path", "init_from"}


class RunLog:
    """The runs in a file of JSON lines. One process at a time may use it.

    A run is known by its model and by the fields of its config that are not at their defaults;
    files by their names alone, so that a log may move to another folder or machine. A file that
    changes under the same name is not noticed.
    """

    def __init__(self, path: Path) -> None:
        """Reads what is there; a last line that a kill cut off is removed.

        Raises:
          UserError: a complete line is no run, or the folder does not exist.
        """
        self._path = path
        if not path.parent.is_dir():
            raise UserError(f"--log: the folder {path.parent} does not exist")
        text = path.read_text("utf-8") if path.exists() else ""
        complete = text[: text.rfind("\n") + 1]
        self.records = [
            _parsed(line, f"{path}:{number}")
            for number, line in enumerate(complete.splitlines(), start=1)
        ]
        if complete != text:
            path.write_text(complete, "utf-8")

    def find(self, model: str, config: Config) -> Record | None:
        """The run of this model and config, or None if it has not been done."""
        fields = changed_fields(config)
        for record in self.records:
            if record["model"] == model and record["fields"] == fields:
                return record
        return None

    def append(self, model: str, config: Config, result: dict[str, Any]) -> Record:
        """Writes a run and returns it."""
        identity = {"model": model, "fields": changed_fields(config)}
        short = {"seed": config.train.seed, "lr": config.optim.lr}
        line = json.dumps(identity | short | result, allow_nan=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.records.append(json.loads(line))
        return self.records[-1]


def changed_fields(config: Config) -> dict[str, Any]:
    """The fields that are not at their defaults: {"optim.lr": 0.001, ...}.

    Of paths, the names; where other objectives are on than by default, the names of all that are.
    """
    defaults = {name: value for name, value, _ in leaves(Config())}
    fields: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value, field in leaves(config)
        if value != defaults.get(name, getattr(field, "default", None))
    }
    if set(config.objectives) != set(Config().objectives):
        # One that is on has all its fields at their defaults, one that is off has none.
        fields["objectives"] = sorted(config.objectives)
    if config.stages:
        fields["stages"] = to_dict(config)["stages"]
    for name in fields.keys() & _PATHS:
        paths = fields[name].split(",")
        fields[name] = ", ".join(Path(path.strip()).name for path in paths)
    return fields


def bits(record: Record) -> float:
    """Validation bits per byte; infinite for a run that diverged."""
    return record["metrics"]["bits_per_byte"] if record["metrics"] else float("inf")


def _parsed(line: str, where: str) -> Record:
    try:
        record = json.loads(line)
        if {"model", "fields", "metrics"} <= record.keys():
            return record
    except (ValueError, AttributeError):
        pass
    raise UserError(f"{where}: this line is not a run; remove it")
