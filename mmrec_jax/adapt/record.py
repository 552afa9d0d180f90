"""What an adaptation has done so far, and which stages must be run: `adapt.json` in its folder."""

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object

RECORD_FILE = "adapt.json"
_NAMED = 3  # of what a stage depends on, in the reason why it is run again


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """sha256 (hex) of what a stage depends on."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


@dataclasses.dataclass
class StageRecord:
    """Of one stage.

    Attributes:
      inputs: what it depends on: fields of the config, files, the fingerprints of other stages.
      done: whether it has come to its end.
      result: what it found, fit for JSON.
      seconds: in all sessions that were not killed.
      sessions: how often it was begun or continued.
      peak_bytes: of the process's memory while it ran, and of the first device's.
    """

    inputs: dict[str, Any]
    done: bool = False
    result: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    sessions: int = 0
    peak_bytes: int | None = None
    peak_device_bytes: int | None = None

    def difference(self, inputs: Mapping[str, Any]) -> str:
        """Why it must be run again with other inputs, in words; "" where they are the same."""
        changed = []
        for name in sorted(self.inputs.keys() | inputs.keys()):
            old, new = self.inputs.get(name), inputs.get(name)
            if old != new:
                after = name.startswith("stage ")
                changed.append(f"{name} is run again" if after else _change(name, old, new))
        more = len(changed) - _NAMED
        return ", ".join(changed[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _change(name: str, old: Any, new: Any) -> str:
    return f"{name} has changed" if " " in name else f"{name} was {old!r}, is {new!r}"


class Record:
    """The stages that were begun, by name; written at every change."""

    def __init__(self, root: Path) -> None:
        """Reads it; `UserError` if the file is damaged."""
        self._path = root / RECORD_FILE
        self.stages: dict[str, StageRecord] = {}
        if not self._path.exists():
            return
        plain = read_json_object(self._path)
        try:
            self.stages = {name: StageRecord(**each) for name, each in plain["stages"].items()}
        except (KeyError, TypeError, AttributeError):
            raise UserError(
                f"{self._path}: this file is damaged; move it away, and everything is run again"
            ) from None

    def write(self) -> None:
        """Replaces the file."""
        plain = {name: dataclasses.asdict(each) for name, each in self.stages.items()}
        replace_file(self._path, (json.dumps({"stages": plain}, indent=1) + "\n").encode())

    def results(self, names: Collection[str]) -> dict[str, dict[str, Any]]:
        """What those of some stages found that have ended; others are of a former config."""
        ended = {name: each for name, each in self.stages.items() if each.done}
        return {name: each.result for name, each in ended.items() if name in names}
