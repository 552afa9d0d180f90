"""The `mmrec` command: trains models, and what can be done with them and with data."""

import os
from collections.abc import Sequence

from mmrec_jax.argument_parser import ArgumentParser, add_version
from mmrec_jax.commands import (
    adapt,
    checkpoint,
    config,
    data,
    eval,
    generate,
    plan,
    quantise,
    serve,
    tokenizer,
    train,
    turkish,
)
from mmrec_jax.config_file import parse_with_overrides
from mmrec_jax.errors import exit_on_user_error, replace_unencodable_output

# In the order of `mmrec --help`.
_COMMANDS = (
    train,
    generate,
    serve,
    eval,
    config,
    data,
    tokenizer,
    turkish,
    checkpoint,
    quantise,
    plan,
    adapt,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one subcommand; `mmrec --help` lists them."""
    replace_unencodable_output()
    options = parse_with_overrides(_parser(), arguments)
    # A pipe closed early (`mmrec generate ... | head`) is no error.
    try:
        with exit_on_user_error():
            options.run(options)
            print(end="", flush=True)
    except BrokenPipeError:
        os._exit(0)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="mmrec", description=__doc__)
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="command")
    for module in _COMMANDS:
        module.add_parser(commands)
    return parser
