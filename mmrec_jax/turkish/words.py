"""The words of a text."""

import re

# Letters, and an apostrophe between letters; digits and underscores are none.
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def words(text: str) -> list[str]:
    """The words of a text, in their order: `words("Ankara'da 3 ev!") == ["Ankara'da", "ev"]`."""
    return WORD.findall(text)
