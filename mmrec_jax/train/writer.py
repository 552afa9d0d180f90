"""Where the numbers of a run go while it trains: `train.writers`, one class each."""

import importlib.util
import json
import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.checkpoints.workdir import Workdir
from mmrec_jax.config import Config
from mmrec_jax.config_tree import to_dict
from mmrec_jax.errors import UserError
from mmrec_jax.train.processes import is_process_zero


class Writer:
    """Takes numbers of a step. A name is unique within its split."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Writes numbers, finite or not."""
        raise NotImplementedError

    def close(self) -> None:
        """Flushes what was written and lets go of it."""


class JsonLines(Writer):
    """Appends one JSON object per line, `{"step": ..., "split": ..., ...}`, flushed at once."""

    def __init__(self, path: Path, resume_step: int) -> None:
        """Opens `path`, keeping what was written up to `resume_step`, 0 for nothing.

        Lines of later steps are removed: those steps are computed again. So is a last line that a
        kill cut off. Lines that are no metrics are not this writer's, and stay.
        """
        kept = b""
        if resume_step and path.exists():
            *lines, last = path.read_bytes().split(b"\n")
            if last and _parse(last) is not None:
                lines.append(last)  # complete, but for its newline
            steps = ((line, (_parse(line) or {}).get("step", 0)) for line in lines)
            kept = b"".join(line + b"\n" for line, step in steps if step <= resume_step)
        replace_file(path, kept)
        self._path = path
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Writes null for what is not finite: JSON has no word for it."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"step": step, "split": split, **finite}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()
        if not self._path.exists():  # else the numbers go to a file without a name
            raise UserError(_removed(self._path))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class _TensorBoard(Writer):
    """Event files for TensorBoard, by tensorboardX."""

    def __init__(self, folder: Path, resume_step: int) -> None:
        purge = resume_step + 1 if resume_step else None
        self._events = SummaryWriter(str(folder), purge_step=purge)

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._events.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        self._events.close()


class _Console(Writer):
    """One line on standard output for each call."""

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"step {step:,} {split}: {numbers}", flush=True)


class _WandB(Writer):
    """A run of Weights & Biases, in the mode that WANDB_MODE says, such as "offline"."""

    def __init__(self, workdir: Workdir, resume_step: int, config: Config) -> None:
        import wandb

        identity = workdir.wandb_id
        if not (resume_step and identity.exists()):
            identity.write_text(secrets.token_hex(8), "utf-8")
        self._run = wandb.init(
            project="mmrec_jax",
            name=workdir.root.resolve().name,
            id=identity.read_text("utf-8"),
            resume="allow",
            dir=str(workdir.root),
            config=to_dict(config),
            settings=wandb.Settings(silent=True),
        )
        # Its own count of steps only rises; a run that continues begins at an earlier one.
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self._run.log({"step": step} | {f"{split}/{name}": x for name, x in values.items()})

    def close(self) -> None:
        self._run.finish()


class _Trackio(Writer):
    """A run of Trackio, in its local data base unless its own settings say otherwise."""

    def __init__(self, workdir: Workdir, resume_step: int, config: Config) -> None:
        import trackio

        self._run = trackio.init(
            project="mmrec_jax",
            name=workdir.root.resolve().name,
            resume="allow" if resume_step else "never",
            config=to_dict(config),
            embed=False,
        )

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        self._run.log({f"{split}/{name}": x for name, x in values.items()}, step=step)

    def close(self) -> None:
        self._run.finish()


# In the order in which they are asked to write: the file that the others can be rebuilt from first.
_OPENERS: dict[str, Callable[[Workdir, int, Config], Writer]] = {
    "jsonl": lambda workdir, step, config: JsonLines(workdir.metrics, step),
    "console": lambda workdir, step, config: _Console(),
    "tensorboard": lambda workdir, step, config: _TensorBoard(workdir.tensorboard, step),
    "wandb": _WandB,
    "trackio": _Trackio,
}
_EXTRAS = ("wandb", "trackio")


class _Writers(Writer):
    """Several writers as one."""

    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = writers

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        for writer in self._writers:
            writer.write(step, split, values)

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def check_writers(names: Sequence[str]) -> None:
    """Refuses writers that are unknown, or whose packages are missing (naming the extra)."""
    for name in names:
        if name not in _OPENERS:
            raise UserError(
                f"config.train.writers has {name!r}; the writers are {', '.join(_OPENERS)}"
            )
        if name in _EXTRAS and importlib.util.find_spec(name) is None:
            raise UserError(
                f"config.train.writers has {name!r}, which is not installed: "
                f"pip install 'mmrec_jax[{name}]'"
            )


def open_writers(config: Config, workdir: Workdir, *, resume_step: int) -> Writer:
    """The writers of `config.train.writers`; of several processes the first one writes.

    `resume_step` is that of the checkpoint that the run continues from, 0 for none.
    """
    names = config.train.writers
    check_writers(names)
    if not is_process_zero():
        return _Writers([])
    openers = [opener for name, opener in _OPENERS.items() if name in names]
    return _Writers([opener(workdir, resume_step, config) for opener in openers])


def require_workdir(workdir: Workdir) -> None:
    """Refuses to go on in a folder that was removed, which a save would make anew, almost empty."""
    if not workdir.config.exists():
        raise UserError(_removed(workdir.config))


def _removed(path: Path) -> str:
    return f"{path}: this file was removed while the run trained; training stops"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` that are metrics, in order; empty if there is none."""
    if not path.exists():
        return []
    parsed = map(_parse, path.read_bytes().split(b"\n"))
    return [line for line in parsed if line is not None]


def _parse(line: bytes) -> dict[str, Any] | None:
    """The metrics in a line, None where there are none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("step"), int):
        return None
    return value if isinstance(value.get("split"), str) else None
