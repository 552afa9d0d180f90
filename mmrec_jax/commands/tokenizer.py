"""`mmrec tokenizer`: extend an existing tokenizer, and see what it is worth."""

from typing import Any

from mmrec_jax.commands import tokenizer_embeddings, tokenizer_extend, tokenizer_report


def add_parser(commands: Any) -> None:
    """Adds the group to the subcommands of `mmrec`."""
    group = commands.add_parser("tokenizer", help="extend an existing tokenizer by a language")
    subcommands = group.add_subparsers(required=True, metavar="command")
    for module in (tokenizer_extend, tokenizer_report, tokenizer_embeddings):
        module.add_parser(subcommands)
