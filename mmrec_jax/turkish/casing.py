"""Upper and lower case of Turkish: the pairs are I/ı and İ/i."""

import unicodedata

_LOWER = str.maketrans({"I": "ı", "İ": "i"})
_UPPER = str.maketrans({"ı": "I", "i": "İ"})


def lower(text: str) -> str:
    """NFC(text) in lower case: `lower("DIŞ İŞLERİ") == "dış işleri"`.

    `str.lower` would make `diş` of `DIŞ`, and of `İ` an i with a second dot (U+0307).
    """
    return unicodedata.normalize("NFC", text).translate(_LOWER).lower()


def upper(text: str) -> str:
    """NFC(text) in upper case: `upper("dış işleri") == "DIŞ İŞLERİ"`."""
    return unicodedata.normalize("NFC", text).translate(_UPPER).upper()


def capitalise(word: str) -> str:
    """The first letter in upper case, the rest as it is: `capitalise("istanbul") == "İstanbul"`."""
    return upper(word[:1]) + word[1:]
