"""Groups of settings: frozen dataclasses in which a field is one line.

    seq_len: int = setting(256, "T, tokens in a row", at_least(1))

The line holds the default, the comment that `mmrec config` prints, the check of the value, whether
a resumed run may have another value, and whether the field is part of what function a model is.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from mmrec_jax.errors import UserError

# What a model's field decides: the function that given parameters compute, where parameters begin,
# or how a run computes, which every run says for itself.
Role = Literal["function", "start", "run"]


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
    free: bool = False,
    role: Role = "function",
    absent: Any = dataclasses.MISSING,
) -> Any:
    """A field of `Settings`.

    Args:
      default: its default.
      comment: what it means, for whoever sets it.
      check: what a value must fulfil; None is always allowed where the type has it.
      free: whether a run may be resumed with another value.
      role: of a model's field.
      absent: the value that runs had before this field existed, if that is not `default`.
    """
    old = default if absent is dataclasses.MISSING else absent
    metadata = {"comment": comment, "check": check, "free": free, "role": role, "absent": old}
    return dataclasses.field(default=default, metadata=metadata)


class Settings:
    """Base of all groups; `path` names the group in messages (`config.train`)."""

    path: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            check, value = field.metadata.get("check"), getattr(self, field.name)
            if check is not None and value is not None:
                self.require(check.holds(value), field.name, check.expected)

    def require(self, condition: bool, name: str, expected: str) -> None:
        """Refuses the value of a field, which must be what `expected` says.

        Raises:
          UserError: the condition does not hold.
        """
        if not condition:
            where = ".".join(part for part in ("config", self.path, name) if part)
            raise UserError(f"{where} is {getattr(self, name)!r}; it must be {expected}")
