"""`mmrec adapt`: a pretrained model learns Turkish, from its tokenizer to a report."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

_DESCRIPTION = """Takes a base through the stages analyse, extend (new tokens), base (where none is
named it is trained here), initialise (the first rows of new tokens), align (only they are trained),
first, second, third (adapters), instruct, control (the base without new tokens on equal bytes),
evaluate and export, and writes report.html. The same command goes on where it was killed; what a
changed field, file or base makes necessary is run again, and said first."""


def add_parser(commands: Any) -> None:
    """Adds the subcommand to those of `mmrec`."""
    parser = commands.add_parser(
        "adapt", help="teach a pretrained model Turkish, in one go", description=_DESCRIPTION
    )
    add = parser.add_argument
    add("--config", required=True, help="a file, or a name such as adapt")
    add("--workdir", required=True, help="the folder of everything that is made")
    add("--until", metavar="STAGE", default="", help="the last stage to run")
    add("--from", metavar="STAGE", default="", dest="start", help="run it and what follows again")
    add(
        "--dry-run",
        action="store_true",
        help="print the stages with their memory, by the compiler, and their time; run nothing",
    )
    parser.set_defaults(run=_adapt)


def _adapt(options: argparse.Namespace) -> None:
    from mmrec_jax.adapt.config import AdaptConfig
    from mmrec_jax.config_file import read_any_config
    from mmrec_jax.errors import UserError

    config = read_any_config(options.config, options.overrides)
    if not isinstance(config, AdaptConfig):
        raise UserError(
            f"--config {options.config}: it is the config of a run; that of an adaptation is an "
            "AdaptConfig, such as configs/adapt.py has"
        )
    root = Path(options.workdir)
    if options.dry_run:
        from mmrec_jax.adapt.dry_run import dry_run

        for line in dry_run(config, root, until=options.until, start=options.start):
            print(line, flush=True)
        return
    from mmrec_jax.adapt.pipeline import adapt
    from mmrec_jax.train.interrupt import exit_on_signal

    exit_on_signal()
    command = shlex.join(["mmrec", *sys.argv[1:]])
    adapt(config, root, until=options.until, start=options.start, command=command)
