"""What `train.py` and `mmrec` have in common: how they read and explain their arguments."""

import argparse
from importlib import metadata
from typing import Any


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps a description's line breaks, and ends each option's help with its default."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help or ""
        told = action.default not in (None, False, "", argparse.SUPPRESS) and action.option_strings
        if not told or isinstance(action, argparse._VersionAction) or "default" in text:
            return action.help
        default = "%(default)s"
        if isinstance(action.default, list | tuple):
            default = " ".join(map(str, action.default))
        return f"{text} (default: {default})".strip()


class ArgumentParser(argparse.ArgumentParser):
    """A parser, and one for each of its subcommands, whose help shows defaults."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": HelpFormatter, **options})

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Adds an argument; argparse prints nothing of one that has no help."""
        if "default" in options:
            options.setdefault("help", "(default: %(default)s)")
        return super().add_argument(*names, **options)


def add_version(parser: argparse.ArgumentParser) -> None:
    """Adds `--version`: of this package and of those whose numbers change with theirs."""
    names = ("mmrec_jax", "jax", "jaxlib", "flax")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    parser.add_argument("--version", action="version", version=versions)
