"""The words of a text."""

import re

# What people write between a name and its suffixes.
APOSTROPHES = "'’ʼ`´"
# Digits, underscores and apostrophes are no letters.
LETTERS = re.compile(rf"[^\W\d_{APOSTROPHES}]+")
# Letters, and an apostrophe between letters.
WORD = re.compile(f"{LETTERS.pattern}(?:[{APOSTROPHES}]{LETTERS.pattern})*")


def words(text: str) -> list[str]:
    """The words of a text, in their order: `words("Ankara'da 3 ev!") == ["Ankara'da", "ev"]`."""
    return WORD.findall(text)
