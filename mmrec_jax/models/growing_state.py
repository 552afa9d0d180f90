"""States that grow with the text: arrays with room for so many tokens along one of their axes."""

import dataclasses
from typing import Any, ClassVar, Self

import jax.numpy as jnp

from mmrec_jax.typing import Array, Int

_LEAST = 64  # tokens that there is room for at first


def room_for(length: int) -> int:
    """Room doubles, so that a text of n tokens takes log n compiled programs."""
    return max(_LEAST, 1 << (length - 1).bit_length())


class GrowingState:
    """Base of such states, which are `flax.struct` dataclasses.

    Whoever hands one to a model sees to it that there is room for the tokens (`with_room`).

    Attributes:
      room_axes: names of the arrays with room, and their axis of tokens.
    """

    room_axes: ClassVar[dict[str, int]]

    @property
    def used(self) -> Int[Array, "B"]:
        """Tokens of each row that take room."""
        raise NotImplementedError

    @property
    def room(self) -> int:
        """Tokens of each row that there is room for."""
        name, axis = next(iter(self.room_axes.items()))
        size: int = getattr(self, name).shape[axis]
        return size

    def with_room(self, count: int) -> Self:
        """With room for `count` more tokens, and no more than that takes; call it outside jit."""
        return self.resized(room_for(int(self.used.max()) + count))

    def resized(self, room: int) -> Self:
        """With this room: zeros behind, or without what is not used."""

        def fitted(x: Array, axis: int) -> Array:
            x = x[(slice(None),) * axis + (slice(room),)]
            return jnp.pad(x, [(0, (room - n) * (i == axis)) for i, n in enumerate(x.shape)])

        arrays: dict[str, Any] = {name: getattr(self, name) for name in self.room_axes}
        if all(arrays[name].shape[axis] == room for name, axis in self.room_axes.items()):
            return self
        resized = {name: fitted(x, self.room_axes[name]) for name, x in arrays.items()}
        return dataclasses.replace(self, **resized)  # type: ignore[type-var]
