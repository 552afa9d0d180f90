"""A set of 64-bit keys in a bounded memory."""

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.errors import UserError

_SMALLEST = 1 << 12  # slots
_FULL = 0.6  # share of the slots in use at which the table doubles
_BYTES = 8  # of a slot


class KeyTable:
    """A hash table with open addressing and linear probing, of 8 bytes a slot.

    It doubles when 60 % full: 13 to 27 bytes a key, and half as much again while it does.
    """

    def __init__(self, limit_bytes: int, option: str) -> None:
        """An empty table.

        Args:
          limit_bytes: what it may take, the copy while it grows included.
          option: the option that sets the limit, for the error message.
        """
        self._limit = limit_bytes
        self._option = option
        self._slots = np.zeros(_SMALLEST, np.uint64)  # 0: empty
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def num_bytes(self) -> int:
        """What the table takes."""
        return self._slots.nbytes

    def contains(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of the keys [n] are in the set."""
        keys = _without_zero(keys)
        return self._slots[self._find(keys)] == keys

    def add(self, keys: NDArray[np.uint64]) -> None:
        """Puts keys [n] into the set.

        Raises:
          UserError: the table would outgrow its limit.
        """
        keys = np.unique(_without_zero(keys))
        keys = keys[self._slots[self._find(keys)] != keys]
        self._make_room(len(keys))
        self._count += len(keys)
        while len(keys):
            places = self._find(keys)
            # Of keys that want the same empty slot the last one has it; the others try again.
            self._slots[places] = keys
            keys = keys[self._slots[places] != keys]

    def _find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The slot of each key, or the empty one where the search for it ended."""
        mask = len(self._slots) - 1
        # The keys are hashes, but perhaps not in their low bits.
        places = ((keys * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)).astype(np.int64) & mask
        waiting = np.arange(len(keys))
        while len(waiting):
            held = self._slots[places[waiting]]
            waiting = waiting[(held != 0) & (held != keys[waiting])]
            places[waiting] = (places[waiting] + 1) & mask
        return places

    def _make_room(self, more: int) -> None:
        size = len(self._slots)
        while self._count + more > _FULL * size:
            size *= 2
        if size == len(self._slots):
            return
        needed = (size + len(self._slots)) * _BYTES
        if needed > self._limit:
            raise UserError(
                f"the table of duplicates needs {needed / 1e6:,.0f} MB to hold more than "
                f"{self._count:,} keys, and {self._option} leaves it {self._limit / 1e6:,.0f} MB; "
                "raise it, or prepare the text without --dedup"
            )
        old = self._slots[self._slots != 0]
        self._slots = np.zeros(size, np.uint64)
        for start in range(0, len(old), _SMALLEST):
            keys = old[start : start + _SMALLEST]
            while len(keys):
                places = self._find(keys)
                self._slots[places] = keys
                keys = keys[self._slots[places] != keys]


def _without_zero(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return np.where(keys == 0, np.uint64(1), keys)
