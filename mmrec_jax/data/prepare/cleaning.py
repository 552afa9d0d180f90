"""Characters that are no text, and text that was decoded wrongly."""

import re
import unicodedata
from collections import Counter

# What ends a line in one of the ways of Unicode's annex 14, and is a newline afterwards.
_LINE_END = re.compile("\r\n|[\r\f\v\x85\u2028\u2029]")
_SEPARATOR = re.compile("[\x1c-\x1f]")  # white space to Unicode, and a space afterwards
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
# Soft hyphens, spaces without width and marks of direction. The two joiners stay before letters of
# scripts and symbols that are written with them.
_FORMAT = re.compile(
    "[\xad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
    "|[\u200c\u200d](?![\u0600-\U0010ffff])"
)
_ANY = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)

_REPLACEMENT = "\ufffd"
_OF_LATIN_1 = "ýþðÝÞÐ"  # what ı, ş, ğ, İ, Ş, Ğ of Windows-1254 are in Latin-1
# Two bytes of UTF-8 (U+00C0 to U+017F) as two letters of Windows-1252.
_OF_UTF8 = re.compile("[ÃÄÅ][\x80-\xbfŒœŠšŸŽžƒˆ˜–—‘’‚“”„†‡•…‰‹›€™]")


def clean(text: str) -> tuple[str, Counter[str]]:
    """A text without characters that are no text, in normal form C.

    Control and format characters are left out; white space stays white space.

    Returns:
      The text, and how many "control_characters" and "format_characters" were left out.
    """
    counts: Counter[str] = Counter()
    if not _ANY.search(text):
        return text, counts
    text = _SEPARATOR.sub(" ", _LINE_END.sub("\n", text))
    text, counts["control_characters"] = _CONTROL.subn("", text)
    text, counts["format_characters"] = _FORMAT.subn("", text)
    return unicodedata.normalize("NFC", text), counts


def broken_characters(text: str, language: str) -> int:
    """How many letters were lost or mistaken when the text was decoded.

    Those are U+FFFD, letters of UTF-8 that were read as Windows-1252, and of Turkish text (language
    "tr") those of Windows-1254 that were read as Latin-1; in other languages these are letters.
    """
    found = text.count(_REPLACEMENT)
    if "Ã" in text or "Ä" in text or "Å" in text:
        found += len(_OF_UTF8.findall(text))
    if language == "tr":
        found += sum(text.count(letter) for letter in _OF_LATIN_1)
    return found
