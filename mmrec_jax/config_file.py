"""A config file with command-line overrides, read into a `Config`."""

import argparse
import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_dict, config_flags

from mmrec_jax.config import Config
from mmrec_jax.config_tree import from_config_dict, to_config_dict, to_dict
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
    tree = _call_get_config(path)
    for override in overrides:
        _require_field(override)
    if overrides:
        _fill(tree, to_config_dict(Config()))
    values = flags.FlagValues()
    try:
        config_flags.DEFINE_config_dict(
            "config", tree, flag_values=values, sys_argv=list(overrides)
        )
        values(["", *overrides])
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{' '.join(overrides)}: {' '.join(str(error).split())}") from None
    tree = values.config
    given = [
        name for name in _LENGTHS if any(o.startswith(f"--config.train.{name}=") for o in overrides)
    ]
    if len(given) == 1:
        # One unit of length on the command line replaces whichever the file has.
        tree.train.update({name: None for name in _LENGTHS if name != given[0]})
    return from_config_dict(tree)


def _call_get_config(path: str) -> ConfigDict:
    if not Path(path).is_file():
        raise UserError(f"--config {path}: there is no such file")
    try:
        get_config = runpy.run_path(path).get("get_config")
        tree = None if get_config is None else get_config()
    except UserError:
        raise
    except Exception as error:  # whatever the user's file raises
        reason = " ".join(str(error).split())
        raise UserError(f"--config {path}: {type(error).__name__}: {reason}") from error
    if not isinstance(tree, Mapping | ConfigDict):
        raise UserError(f"--config {path}: it must define get_config() that returns a ConfigDict")
    return ConfigDict(tree)


def _fill(tree: ConfigDict, defaults: ConfigDict) -> None:
    """Adds the fields that a file leaves out, so that they can be overridden."""
    for name in defaults:
        if isinstance(defaults[name], ConfigDict):
            if name not in tree:
                tree[name] = defaults[name]
            elif isinstance(tree[name], ConfigDict):
                _fill(tree[name], defaults[name])
        elif name not in tree:
            # A default length must not stand beside the file's own.
            unset = config_dict.placeholder(defaults.get_type(name))
            tree[name] = unset if name in _LENGTHS else defaults.get_ref(name)


def _require_field(override: str) -> None:
    """Refuses an override of a field that no config has."""
    node, path = to_dict(Config()), "config"
    for name in override.partition("=")[0].removeprefix("--config.").split("."):
        fields = node if isinstance(node, dict) else {}
        if name not in fields:
            known = f"; the fields are {', '.join(sorted(fields))}" if fields else ""
            raise UserError(f"{path}.{name} is not a field{known}")
        node, path = fields[name], f"{path}.{name}"
