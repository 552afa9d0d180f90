"""Where the objects and lists of a JSON array begin and end, from its bytes."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

Event = Literal["begin", "end", "close"]

_STEPS = np.zeros(256, np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1
# With these bits set, the four brackets and four other bytes become 0x7f.
_BRACKET_BITS, _BRACKET = 0x26, 0x7F
_QUOTE = ord('"')


class JsonScanner:
    """Follows strings and brackets; nothing else is parsed, and no byte is looked at twice.

    A scanner stands behind the `[` of the array at first. The kinds of brackets are not told
    apart: `{]` is found wrong by whoever parses the record.
    """

    def __init__(self) -> None:
        self._depth = 1
        self._in_string = False

    def scan(self, block: bytes, offset: int) -> tuple[int, Iterator[tuple[Event, int]]]:
        """The borders of records in the next bytes.

        Args:
          block: what follows the bytes of the calls before.
          offset: where it begins.

        Returns:
          How many bytes were scanned (a backslash at the end waits for what follows it), and in
          their order the places where an element that is an object or a list begins ("begin": the
          offset of its bracket), where it ends ("end": the offset behind its bracket), and where
          the array does ("close": the offset of its bracket).
        """
        # Escapes undone from left to right; what they stand for has no meaning for borders.
        plain = block.replace(rb"\\", b"__").replace(rb"\"", b"__")
        if plain.endswith(b"\\"):
            plain = plain[:-1]
        codes = np.frombuffer(plain, np.uint8)
        quotes = np.flatnonzero(codes == _QUOTE)
        places = np.flatnonzero((codes | _BRACKET_BITS) == _BRACKET)
        steps = _STEPS[codes[places]]
        quoted = (np.searchsorted(quotes, places) + self._in_string) & 1
        outside = (quoted == 0) & (steps != 0)
        places, steps = places[outside], steps[outside]
        depths = self._depth + np.cumsum(steps, dtype=np.int64)
        if len(depths):
            self._depth = int(depths[-1])
        self._in_string = bool((len(quotes) + self._in_string) & 1)
        border = ((depths == 2) & (steps > 0)) | ((depths <= 1) & (steps < 0))
        return len(plain), _events(places[border] + offset, steps[border], depths[border])


def _events(
    places: np.ndarray, steps: np.ndarray, depths: np.ndarray
) -> Iterator[tuple[Event, int]]:
    for place, step, depth in zip(places.tolist(), steps.tolist(), depths.tolist(), strict=True):
        if step > 0:
            yield "begin", place
        elif depth == 1:
            yield "end", place + 1
        else:
            yield "close", place
