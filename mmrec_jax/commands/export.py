"""`mmrec export`: a trained model as safetensors, with its config and tokenizer."""

import argparse
from typing import Any

from mmrec_jax.commands.options import add_model_options


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser("export", help="safetensors, config and tokenizer in a folder")
    add_model_options(parser)
    parser.add_argument("--out", required=True, help="the new folder")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes the folder; adapters are put in.

    Raises:
      UserError: the run or its base is wrong, or the folder is not empty or cannot be written.
    """
    from mmrec_jax.checkpoints.export import require_new_folder, stand_alone, write_exported
    from mmrec_jax.checkpoints.load import read_model
    from mmrec_jax.checkpoints.workdir import Workdir

    require_new_folder(options.out)
    trained = read_model(options.workdir, options.step)
    size = write_exported(
        options.out,
        stand_alone(trained.config),
        trained.params,
        trained.tokenizer,
        Workdir(trained.root).tokenizer,
        vocab_size=trained.model.vocab_size,
        step=trained.step,
    )
    print(f"{options.out}: model.safetensors ({size:,} bytes), config.json, tokenizer/")
