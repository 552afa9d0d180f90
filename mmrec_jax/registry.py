"""Names that a config may use, and where what they mean is found.

A model family, an objective, a kind of data and an evaluator are each one file and one line of a
registry. What is registered from outside (`Registry.register`, called by a module that
`config.plugins` names) is used like what comes with the package.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from mmrec_jax.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """Values by name; the module of a value is imported when the value is first asked for."""

    def __init__(self, noun: str, homes: Mapping[str, str]) -> None:
        """`noun`: what the names are, in messages. `homes`: name to "module:attribute"."""
        self.noun = noun
        self._homes = dict(homes)
        self._values: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorates a value that is to be known as `name`."""

        def add(value: T) -> T:
            self._values[name] = value
            return value

        return add

    def __getitem__(self, name: str) -> T:
        """The value.

        Raises:
          UserError: there is none of that name.
        """
        if name not in self._values:
            if name not in self._homes:
                raise UserError(
                    f"there is no {self.noun} {name!r}; there are {', '.join(self)} "
                    "(config.plugins names modules that register others)"
                )
            module, _, attribute = self._homes[name].partition(":")
            self._values[name] = getattr(importlib.import_module(module), attribute)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._homes, *self._values)))

    def __contains__(self, name: str) -> bool:
        return name in self._homes or name in self._values
