"""A config file with command-line overrides, read into a `Config`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from mmrec_jax.config import Config, from_config_dict
from mmrec_jax.errors import UserError

_LENGTHS = ("steps", "epochs", "tokens")


def parse_with_overrides(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parses `arguments`; `--config.field=value` ones are collected in `overrides`.

    Any other argument that `parser` does not know is refused by it.
    """
    options, rest = parser.parse_known_args(arguments)
    unknown = [argument for argument in rest if not argument.startswith("--config.")]
    if unknown:
        parser.error(f"unrecognised argument {unknown[0]}")
    options.overrides = rest
    return options


def read_config(path: str, overrides: Sequence[str] = ()) -> Config:
    """The config that `get_config()` in a Python file returns, with overrides.

    Args:
      path: the file.
      overrides: such as `--config.optim.lr=1e-3`; the type must be the field's.

    Raises:
      UserError: the file is missing or fails, or a field is unknown, ill-typed or out of range.
    """
    if not Path(path).is_file():
        raise UserError(f"--config {path}: there is no such file")
    values = flags.FlagValues()
    arguments = [f"--config={path}", *overrides]
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=arguments)
    try:
        values(["", *arguments])
        tree = values.config
    except (flags.Error, AttributeError, KeyError) as error:
        raise UserError(f"--config {path}: {' '.join(str(error).split())}") from None
    except UserError:
        raise
    except Exception as error:  # whatever the user's file raises
        raise UserError(f"--config {path}: {type(error).__name__}: {error}") from error
    given = [
        name for name in _LENGTHS if any(o.startswith(f"--config.train.{name}=") for o in overrides)
    ]
    if len(given) == 1 and "train" in tree:
        # One unit of length on the command line replaces whichever the file has.
        tree.train.update({name: None for name in _LENGTHS if name != given[0]})
    return from_config_dict(tree)
