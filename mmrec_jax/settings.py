"""Groups of settings: frozen dataclasses in which a field is one line.

    seq_len: int = setting(256, "T, tokens in a row", at_least(1))

The line holds the type, the default, the comment that `mmrec config` prints, the check of the
value, whether a resumed run may have another value, and whether the field is part of what function
a model is.
"""

import ast
import dataclasses
import math
import types
import typing
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NoReturn, get_args, get_origin

from mmrec_jax.errors import UserError
from mmrec_jax.registry import Registry

# What a model's field decides: the function that given parameters compute, where parameters begin,
# or how a run computes, which every run says for itself.
Role = Literal["function", "start", "run"]
# Whether a run may be resumed with another value: always, never, where no schedule depends on the
# length of the run, or where adapters are trained (their base is compared itself).
Free = bool | Literal["length", "base"]


@dataclasses.dataclass(frozen=True)
class Check:
    """A condition on a value, and how a message says it."""

    holds: Callable[[Any], bool]
    expected: str


def at_least(low: float) -> Check:
    """`low <= value`."""
    return Check(lambda value: value >= low, f"at least {low}")


def above(low: float) -> Check:
    """`low < value`."""
    return Check(lambda value: value > low, f"above {low}")


def within(low: float, high: float, ends: str = "[]") -> Check:
    """`value` between `low` and `high`; `ends` says which ends belong to it, such as "[)"."""

    def holds(value: Any) -> bool:
        lower = value >= low if ends[0] == "[" else value > low
        return lower and (value <= high if ends[1] == "]" else value < high)

    return Check(holds, f"in {ends[0]}{low}, {high}{ends[1]}")


def setting(
    default: Any,
    comment: str,
    check: Check | None = None,
    *,
    free: Free = False,
    role: Role = "function",
    absent: Any = dataclasses.MISSING,
) -> Any:
    """A field of `Settings`; `comment` is for whoever sets it.

    None is always allowed where the type has it, whatever `check` says. `absent` is the value that
    runs had before this field existed, if that is not `default`.
    """
    old = default if absent is dataclasses.MISSING else absent
    metadata = {"comment": comment, "check": check, "free": free, "role": role, "absent": old}
    return dataclasses.field(default=default, metadata=metadata)


def union(registry: Registry[type[Any]], default: str, comment: str) -> Any:
    """A field that is one of the groups of a registry, told apart by their `tag`."""
    metadata = {"comment": comment, "registry": registry, "kind": default}
    return dataclasses.field(default_factory=lambda: registry[default](), metadata=metadata)


LARGEST_SEED = 2**32 - 1  # JAX takes a seed modulo 2^32
SEED = within(0, LARGEST_SEED)


class Settings:
    """Base of all groups; `group` names it in messages (`train` for `config.train`).

    A group that is one of several has a `tag`, the class variable that says which one: `family` of
    the models, say.
    """

    group: ClassVar[str] = ""
    tag: ClassVar[str] = ""

    def __post_init__(self) -> None:
        hints = type_hints(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            hint, given = hints[field.name], getattr(self, field.name)
            try:
                value = convert(hint, given)
            except ValueError:
                self.require(False, field.name, type_words(hint))
            if value is not given:
                object.__setattr__(self, field.name, value)
            if isinstance(value, float):
                self.require(math.isfinite(value), field.name, "finite")
            check = field.metadata.get("check")
            if check is not None and value is not None:
                self.require(check.holds(value), field.name, check.expected)

    def require(self, condition: bool, name: str, expected: str) -> None:
        """Refuses the value of a field, which must be what `expected` says.

        Raises:
          UserError: the condition does not hold.
        """
        if not condition:
            found = getattr(self, name)
            raise UserError(f"{self.full_name}.{name} is {found!r}; it must be {expected}")

    def require_one_of(self, *names: str) -> None:
        """Refuses, with a `UserError`, a group in which not exactly one of the fields is given."""
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise UserError(
                f"{self.full_name}.{'/'.join(names)}: {', '.join(given) or 'none of them'} is "
                "set; it must be exactly one of these"
            )

    @property
    def full_name(self) -> str:
        """What messages call the group."""
        return f"config.{self.group}" if self.group else "config"


def role(field: dataclasses.Field[Any]) -> Role:
    """What a field of a model's config decides."""
    return field.metadata.get("role", "function")


_hints: dict[type, dict[str, Any]] = {}


def type_hints(group: type[Settings]) -> dict[str, Any]:
    """The types of a group's fields."""
    if group not in _hints:
        _hints[group] = typing.get_type_hints(group)
    return _hints[group]


def convert(hint: Any, value: Any) -> Any:
    """`value` as the type that `hint` says: whole numbers become floats, lists tuples.

    Raises:
      ValueError: it is of another type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if _is_union(hint):
        return _first(convert, arguments, value)
    if origin is Literal:
        return value if isinstance(value, str) and value in arguments else _mismatch()
    if origin is tuple:
        if not isinstance(value, list | tuple):
            _mismatch()
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(items) != len(value):
            _mismatch()
        return tuple(map(convert, items, value))
    if hint is float and type(value) is int:
        return float(value)
    plain = hint in (int, float, bool, str)
    return value if (type(value) is hint if plain else isinstance(value, hint)) else _mismatch()


def parse(hint: Any, text: str) -> Any:
    """The value that `text` on a command line means for a field of type `hint`.

    Raises:
      ValueError: it means none.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if _is_union(hint):
        return _first(parse, sorted(arguments, key=lambda kind: kind is not types.NoneType), text)
    if hint is types.NoneType:
        return None if text.lower() == "none" else _mismatch()
    if hint is bool:
        values = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
        return values[text.lower()] if text.lower() in values else _mismatch()
    if hint is int:
        try:
            return int(text, 0)
        except ValueError:
            number = float(text)  # 1e9
            return int(number) if "e" in text.lower() and number.is_integer() else _mismatch()
    if hint is float:
        return float(text)
    if origin is tuple:
        if arguments[0] is str:
            return tuple(part.strip(" '\"") for part in text.strip("[]() ").split(",") if part)
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            _mismatch()
        return convert(hint, value if isinstance(value, list | tuple) else (value,))
    return convert(hint, text)


def type_words(hint: Any) -> str:
    """The type of a field, in words."""
    arguments = get_args(hint)
    if _is_union(hint):
        return " or ".join(map(type_words, arguments))
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if get_origin(hint) is tuple:
        if arguments[-1] is Ellipsis:
            return f"a list, each item {type_words(arguments[0])}"
        return f"({', '.join(map(type_words, arguments))})"
    words = {bool: "true or false", int: "an int", float: "a float", str: "a text", Any: "a group"}
    return words.get(hint, "None" if hint is types.NoneType else f"a {hint.__name__}")


def _is_union(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) or get_origin(hint) is typing.Union


def _first(function: Callable[[Any, Any], Any], hints: typing.Iterable[Any], value: Any) -> Any:
    """What `function` makes of `value` with the first of the types that it has."""
    for hint in hints:
        try:
            return function(hint, value)
        except ValueError:
            continue
    return _mismatch()


def _mismatch() -> NoReturn:
    raise ValueError("another type")
