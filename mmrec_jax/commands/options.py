"""Options that several subcommands have, and their checks."""

import argparse

from mmrec_jax.errors import UserError


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """`--workdir` and `--step`: which trained model."""
    parser.add_argument("--workdir", required=True, help="the run's folder")
    parser.add_argument("--step", default="best", type=_step, help='a step, "best" or "last"')


def require_positive(options: argparse.Namespace, *names: str) -> None:
    """Refuses a number below 1.

    Raises:
      UserError: names the flag.
    """
    for name in names:
        if getattr(options, name) < 1:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} is {getattr(options, name)}; it must be at least 1")


def read_lengths(text: str, flag: str = "--lengths") -> tuple[int, ...]:
    """Numbers such as `40,256`.

    Raises:
      UserError: names the flag.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"{flag} is {text!r}; it must be numbers such as 40,256")
    return tuple(map(int, parts))


def _step(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
