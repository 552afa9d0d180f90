"""A `Config` as a tree of plain values, and back: for command lines, files and checkpoints."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

import ml_collections
from ml_collections import config_dict

from mmrec_jax.config import Config
from mmrec_jax.errors import UserError

_T = TypeVar("_T")


def to_config_dict(config: Config) -> ml_collections.ConfigDict:
    """The editable form of `config`, in which None fields know their type for later overrides."""
    return ml_collections.ConfigDict(_to_plain(config, placeholders=True))


def to_dict(config: Any) -> dict[str, Any]:
    """`config` as nested plain dicts, fit for JSON."""
    return _to_plain(config, placeholders=False)


def from_config_dict(tree: Mapping[str, Any] | ml_collections.ConfigDict) -> Config:
    """Builds the validated run.

    Raises:
      UserError: a field is unknown, has the wrong type, or a value outside its range.
    """
    if isinstance(tree, ml_collections.ConfigDict):
        tree = tree.to_dict()
    return _from_plain(Config, tree, "config")


def complete_stored(tree: Mapping[str, Any], cls: type = Config) -> dict[str, Any]:
    """A config in a file, with the fields that it is too old to have at their value of then."""
    complete = dict(tree)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        value = complete.get(field.name)
        if "before" in field.metadata:
            complete.setdefault(field.name, field.metadata["before"])
        elif dataclasses.is_dataclass(hints[field.name]) and isinstance(value, Mapping):
            complete[field.name] = complete_stored(value, hints[field.name])
    return complete


def _to_plain(node: Any, *, placeholders: bool) -> Any:
    plain: dict[str, Any] = {}
    hints = typing.get_type_hints(type(node))
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            value = _to_plain(value, placeholders=placeholders)
        elif value is None and placeholders:
            value = config_dict.placeholder(_without_none(hints[field.name]))
        elif isinstance(value, tuple) and not placeholders:
            value = list(value)
        plain[field.name] = value
    return plain


def _from_plain(cls: type[_T], tree: Mapping[str, Any], path: str) -> _T:
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, value in tree.items():
        where = f"{path}.{name}"
        if name not in hints:
            raise UserError(f"{where} is not a field; the fields are {', '.join(sorted(hints))}")
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, Mapping):
                raise UserError(f"{where} is {value!r}; it must be a group of fields")
            values[name] = _from_plain(hints[name], value, where)
        else:
            values[name] = _checked(hints[name], value, where)
    return cls(**values)


def _checked(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise UserError(f"{where} is {value!r}; it must be one of {list(get_args(hint))}")
        return value
    if isinstance(hint, types.UnionType):
        return None if value is None else _checked(_without_none(hint), value, where)
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{where} is {value!r}; it must be a list")
        return tuple(_checked(get_args(hint)[0], item, where) for item in value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{where} is {value!r}; it must be of type {hint.__name__}")
    return value


def _without_none(hint: Any) -> Any:
    return next(kind for kind in get_args(hint) if kind is not type(None))
