"""Where the numbers of a run go while it trains: `train.writers`."""

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Writer:
    """Where numbers go."""

    # Of a step and a split: numbers, finite or not; a name is unique within its split
    write: Callable[[int, str, Mapping[str, float]], None]
    close: Callable[[], None] = lambda: None  # flushes what was written


def open_json_lines(path: Path, resume_step: int) -> Writer:
    """Appends one JSON object per line, `{"step": ..., "split": ..., ...}`, flushed at once.

    What was written up to `resume_step` is kept, 0 for nothing. Lines of later steps are removed:
    those steps are computed again. So is a last line that a kill cut off. Lines that are no metrics
    are not this writer's, and stay.
    """
    kept = b""
    if resume_step and path.exists():
        *lines, last = path.read_bytes().split(b"\n")
        if last and _parse(last) is not None:
            lines.append(last)  # complete, but for its newline
        steps = ((line, (_parse(line) or {}).get("step", 0)) for line in lines)
        kept = b"".join(line + b"\n" for line, step in steps if step <= resume_step)
    replace_file(path, kept)
    file = path.open("a", encoding="utf-8")

    def write(step: int, split: str, values: Mapping[str, float]) -> None:
        # null for what is not finite: JSON has no word for it
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"step": step, "split": split, **finite}
        file.write(json.dumps(line, allow_nan=False) + "\n")
        file.flush()
        if not path.exists():  # else the numbers go to a file without a name
            raise UserError(_removed(path))

    return Writer(write, file.close)


def _console(step: int, split: str, values: Mapping[str, float]) -> None:
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    print(f"step {step:,} {split}: {numbers}", flush=True)


def _open_tensorboard(folder: Path, resume_step: int) -> Writer:
    purge = resume_step + 1 if resume_step else None
    events = SummaryWriter(str(folder), purge_step=purge)

    def write(step: int, split: str, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            events.add_scalar(f"{split}/{name}", value, step)

    return Writer(write, events.close)


def _open_wandb(workdir: Workdir, resume_step: int, config: Config) -> Writer:
    """In the mode that WANDB_MODE says, such as "offline"."""
    import wandb

    identity = workdir.wandb_id
    if not (resume_step and identity.exists()):
        identity.write_text(secrets.token_hex(8), "utf-8")
    run = wandb.init(
        project="mmrec_jax",
        name=workdir.root.resolve().name,
        id=identity.read_text("utf-8"),
        resume="allow",
        dir=str(workdir.root),
        config=to_dict(config),
        settings=wandb.Settings(silent=True),
    )
    # Its own count of steps only rises; a run that continues begins at an earlier one.
    run.define_metric("*", step_metric="step")

    def write(step: int, split: str, values: Mapping[str, float]) -> None:
        run.log({"step": step} | {f"{split}/{name}": x for name, x in values.items()})

    return Writer(write, run.finish)


def _open_trackio(workdir: Workdir, resume_step: int, config: Config) -> Writer:
    """In its local data base unless its own settings say otherwise."""
    import trackio

    run = trackio.init(
        project="mmrec_jax",
        name=workdir.root.resolve().name,
        resume="allow" if resume_step else "never",
        config=to_dict(config),
        embed=False,
    )

    def write(step: int, split: str, values: Mapping[str, float]) -> None:
        run.log({f"{split}/{name}": x for name, x in values.items()}, step=step)

    return Writer(write, run.finish)


# In the order in which they are asked to write: the file that the others can be rebuilt from first.
_OPENERS: dict[str, Callable[[Workdir, int, Config], Writer]] = {
    "jsonl": lambda workdir, step, config: open_json_lines(workdir.metrics, step),
    "console": lambda workdir, step, config: Writer(_console),
    "tensorboard": lambda workdir, step, config: _open_tensorboard(workdir.tensorboard, step),
    "wandb": _open_wandb,
    "trackio": _open_trackio,
}
_EXTRAS = ("wandb", "trackio")


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
    names = config.train.writers if is_process_zero() else ()
    openers = [opener for name, opener in _OPENERS.items() if name in names]
    writers = [opener(workdir, resume_step, config) for opener in openers]

    def write(step: int, split: str, values: Mapping[str, float]) -> None:
        for writer in writers:
            writer.write(step, split, values)

    def close() -> None:
        for writer in writers:
            writer.close()

    return Writer(write, close)


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
