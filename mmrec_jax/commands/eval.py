"""`mmrec eval`: what a trained model is worth."""

from typing import Any

from mmrec_jax.commands import eval_length, eval_loss, eval_recall


def add_parser(commands: Any) -> None:
    """Adds the group to the subcommands of `mmrec`."""
    group = commands.add_parser("eval", help="evaluate a trained model")
    subcommands = group.add_subparsers(required=True, metavar="command")
    for module in (eval_loss, eval_length, eval_recall):
        module.add_parser(subcommands)
