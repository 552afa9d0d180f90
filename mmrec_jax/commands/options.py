"""Options that several subcommands have, and their checks."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from mmrec_jax.errors import UserError
from mmrec_jax.settings import LARGEST_SEED

if TYPE_CHECKING:
    from mmrec_jax.checkpoints.saved_model import TrainedModel


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """`--workdir` and `--step`: which trained model."""
    parser.add_argument(
        "--workdir",
        required=True,
        help="the run's folder, or a pretrained model: a Hugging Face folder, a Hub id (org/name) "
        "or a GGUF file",
    )
    parser.add_argument("--step", default="best", type=_step, help='a step, "best" or "last"')


def add_shard_option(parser: argparse.ArgumentParser) -> None:
    """`--shard-gb`: see `shard_bytes`."""
    parser.add_argument(
        "--shard-gb",
        type=float,
        default=5.0,
        help="of a transformer: 1e9 bytes in a file at most, and on the host",
    )


def shard_bytes(options: argparse.Namespace) -> int:
    """Bytes of a file of tensors, of `--shard-gb`."""
    if not 0 < options.shard_gb < math.inf:
        raise UserError(f"--shard-gb is {options.shard_gb}; it must be a size above 0")
    return round(options.shard_gb * 1e9)


def add_text_options(parser: argparse.ArgumentParser, what: str) -> None:
    """`--data`, `--documents` and `--field`: which text; `what` says what it is for."""
    parser.add_argument("--data", help=f"{what}: comma-separated paths or globs")
    parser.add_argument(
        "--documents",
        choices=("block", "line", "file"),
        default="block",
        help="what a document of plain text is: blank lines end a block",
    )
    parser.add_argument("--field", default="text", help="field of a JSON line")


def add_out_option(parser: argparse.ArgumentParser, folder: str) -> None:
    """`--out`; `folder` is what is written into in the run's folder without it."""
    parser.add_argument("--out", metavar="DIR", help=f"write there, not into WORKDIR/{folder}")


def make_out(options: argparse.Namespace, default: Path) -> Path:
    """The folder of `--out`, or the default, made if it is not there."""
    folder = default if options.out is None else Path(options.out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        name = "--out" if options.out else "--workdir (give another folder with --out)"
        raise UserError(f"{name}: {folder}: {error.strerror}") from None
    return folder


def require_positive(options: argparse.Namespace, *names: str) -> None:
    """Refuses a number below 1."""
    for name in names:
        if getattr(options, name) < 1:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} is {getattr(options, name)}; it must be at least 1")


def require_seed(options: argparse.Namespace) -> None:
    """Refuses a `--seed` that JAX would take for another one."""
    if not 0 <= options.seed <= LARGEST_SEED:
        raise UserError(f"--seed is {options.seed}; it must be in 0 to {LARGEST_SEED}")


def read_text_model(options: argparse.Namespace) -> "TrainedModel":
    """The model of `add_model_options`, which writes text, with the adapter of `--adapter`."""
    from mmrec_jax.checkpoints.load import open_model, with_adapter

    saved = open_model(options.workdir, options.step)
    saved.require_text()
    return with_adapter(saved, options.adapter) if options.adapter else saved.read()


def read_lengths(text: str) -> tuple[int, ...]:
    """The numbers of `--lengths`, such as `40,256`."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"--lengths is {text!r}; it must be numbers such as 40,256")
    return tuple(map(int, parts))


def _step(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
