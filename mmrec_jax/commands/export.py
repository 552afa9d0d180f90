"""`mmrec merge` and `mmrec export`: a trained model in a new folder that needs no base."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mmrec_jax.commands.options import add_model_options

if TYPE_CHECKING:
    from mmrec_jax.checkpoints.trained_model import TrainedModel


def add_parser(commands: Any) -> None:
    """Adds both to the subcommands of `mmrec`."""
    for name, run, summary in (
        ("merge", merge, "adapters and their base as one full checkpoint"),
        ("export", export, "safetensors, config and tokenizer in a folder"),
    ):
        parser = commands.add_parser(name, help=summary)
        add_model_options(parser)
        parser.add_argument("--out", required=True, help="the new folder")
        parser.set_defaults(run=run)


def merge(options: argparse.Namespace) -> None:
    """Writes a folder that every command reads like a run.

    Raises:
      UserError: the run has no adapters, its base is missing or another one, or the new folder is
        not empty or cannot be written.
    """
    from mmrec_jax.checkpoints.export import write_merged
    from mmrec_jax.checkpoints.trained_model import read_adapters

    read_adapters(options.workdir, options.step)
    merged, _ = _write(options, write_merged)
    print(f"{options.out}: step {merged.step:,} of {merged.root}, merged; read it with --workdir")


def export(options: argparse.Namespace) -> None:
    """Writes the folder; adapters are put in.

    Raises:
      UserError: the run or its base is wrong, or the folder is not empty or cannot be written.
    """
    from mmrec_jax.checkpoints.export import write_exported

    _, size = _write(options, write_exported)
    print(f"{options.out}: model.safetensors ({size:,} bytes), config.json, tokenizer/")


def _write(options: argparse.Namespace, write: Callable[..., Any]) -> "tuple[TrainedModel, Any]":
    """The model, and what the function of `checkpoints/export.py` that writes it returns."""
    from mmrec_jax.checkpoints.export import require_new_folder, stand_alone
    from mmrec_jax.checkpoints.trained_model import read_model
    from mmrec_jax.checkpoints.workdir import Workdir

    require_new_folder(options.out)
    trained = read_model(options.workdir, options.step)
    done = write(
        options.out,
        stand_alone(trained.config),
        trained.params,
        trained.tokenizer,
        Workdir(trained.root).tokenizer,
        vocab_size=trained.model.vocab_size,
        step=trained.step,
    )
    return trained, done
