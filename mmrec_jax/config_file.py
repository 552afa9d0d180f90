"""A config file with command-line overrides, read into a `Config`."""

import argparse
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from mmrec_jax.config import Config
from mmrec_jax.config_tree import override
from mmrec_jax.errors import UserError
from mmrec_jax.settings import Settings

Root = TypeVar("Root", bound=Settings)

_PREFIX = "--config."


def parse_with_overrides(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parses `arguments`; `--config.field=value` ones are collected in `overrides`.

    Any other argument that `parser` does not know is refused by it.
    """
    given = sys.argv[1:] if arguments is None else arguments
    # Taken out first: argparse takes an option that has a space in it for a positional argument.
    overrides = [argument for argument in given if argument.startswith(_PREFIX)]
    options, unknown = parser.parse_known_args([x for x in given if x not in overrides])
    if unknown:
        parser.error(f"unrecognised argument {unknown[0]}")
    options.overrides = overrides
    return options


def read_config(path: str, overrides: Sequence[str] = ()) -> Config:
    """The config of a run that `get_config()` in a Python file returns, with overrides.

    `path` may be the name of a config that is installed, too: see `find_config`. An override is
    written `--config.optim.lr=1e-3`; its type must be the field's.

    Raises:
      UserError: the file is missing or fails, or a field is unknown, ill-typed or out of range.
    """
    config = read_any_config(path, overrides)
    if not isinstance(config, Config):
        raise UserError(
            f"--config {path}: this is the config of mmrec {config.group}, not that of a run"
        )
    return config


def read_any_config(path: str, overrides: Sequence[str] = ()) -> Any:
    """As `read_config`, of whatever the file is the config of."""
    return with_overrides(_call_get_config(path), overrides)


def with_overrides(config: Root, overrides: Sequence[str]) -> Root:
    """The config with the fields that `--config.field=value` sets.

    Raises:
      UserError: a field is unknown, ill-typed or out of range.
    """
    parts = [given.removeprefix(_PREFIX).partition("=") for given in overrides]
    return override(config, [(name, text if equals else None) for name, equals, text in parts])


def config_folder() -> Path:
    """Where the configs are that come with the package: a part of it once it is installed."""
    package = Path(__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def find_config(path: str) -> Path:
    """The file `path`; if there is none, the config of that name that comes with the package.

    `tiny` and `configs/tiny.py` are names of the same one.

    Raises:
      UserError: there is neither.
    """
    if Path(path).is_file():
        return Path(path)
    shipped = {file.stem: file for file in sorted(config_folder().glob("*.py"))}
    for name, file in shipped.items():
        if path == name or Path(path) == Path("configs", file.name):
            return file
    raise UserError(
        f"--config {path}: there is no such file; configs that come with the package are "
        f"{', '.join(shipped)}"
    )


def _call_get_config(path: str) -> Settings:
    file = find_config(path)
    try:
        get_config = runpy.run_path(str(file)).get("get_config")
        config = None if get_config is None else get_config()
    except UserError as error:
        raise UserError(f"--config {path}: {error}") from None
    except Exception as error:  # whatever the user's file raises
        reason = " ".join(str(error).split())
        raise UserError(f"--config {path}: {type(error).__name__}: {reason}") from error
    if not isinstance(config, Settings):
        raise UserError(f"--config {path}: it must define get_config() that returns a Config")
    return config
