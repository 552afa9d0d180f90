"""The unit of text: what is split, shuffled, and preceded by a begin token."""

import dataclasses
import unicodedata


@dataclasses.dataclass(frozen=True)
class Document:
    """A named text.

    Attributes:
      name: where the text comes from, fit for an error message ("corpus.txt:17").
      text: the text, brought to Unicode normal form C on construction.
    """

    name: str
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", unicodedata.normalize("NFC", self.text))
