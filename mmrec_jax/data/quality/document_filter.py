"""Which documents are kept, by what can be seen of one document alone."""

import dataclasses
from typing import Literal

from mmrec_jax.data.quality.language import is_turkish

Reason = Literal["empty", "too_short", "too_long", "language"]


@dataclasses.dataclass(frozen=True)
class DocumentFilter:
    """Limits of a document.

    Attributes:
      min_chars: characters (code points), at least; white space at the ends is not counted.
      max_chars: the same, at most; 0: no limit.
      language: "tr" keeps what is in Turkish (`language`); "" keeps all.
    """

    min_chars: int = 0
    max_chars: int = 0
    language: Literal["", "tr"] = ""

    def refuse(self, text: str) -> Reason | None:
        """Why a text is left out; None: it is kept."""
        length = len(text.strip())
        if not length:
            return "empty"
        if length < self.min_chars:
            return "too_short"
        if self.max_chars and length > self.max_chars:
            return "too_long"
        if self.language == "tr" and not is_turkish(text):
            return "language"
        return None
