"""`mmrec merge`: put trained adapters into their base, as a checkpoint that needs neither."""

import argparse
from typing import Any

from mmrec_jax.commands.options import add_model_options


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser("merge", help="adapters and their base as one full checkpoint")
    add_model_options(parser)
    parser.add_argument("--out", required=True, help="the new run's folder")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes a folder that every command reads like a run.

    Raises:
      UserError: the run has no adapters, its base is missing or another one, or the new folder is
        not empty or cannot be written.
    """
    from mmrec_jax.checkpoints.export import require_new_folder, stand_alone, write_merged
    from mmrec_jax.checkpoints.load import read_adapters, read_model
    from mmrec_jax.checkpoints.workdir import Workdir

    place = require_new_folder(options.out)
    read_adapters(options.workdir, options.step)
    merged = read_model(options.workdir, options.step)
    write_merged(
        place,
        stand_alone(merged.config),
        merged.params,
        merged.tokenizer,
        Workdir(merged.root).tokenizer,
        vocab_size=merged.model.vocab_size,
        step=merged.step,
    )
    print(f"{place.root}: step {merged.step:,} of {merged.root}, merged; read it with --workdir")
