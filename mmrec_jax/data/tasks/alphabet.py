"""Characters to write the symbols of a task with."""

import string

# Printable, one code point each, unchanged by NFC, and in ascending order: digits, letters, and the
# first block of CJK ideographs (U+4E00 to U+9FFF) for large alphabets.
_SHORT = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FIRST_IDEOGRAPH = 0x4E00


def alphabet(size: int) -> str:
    """The first `size` characters, ascending; there are 62 + 20,992."""
    ideographs = map(chr, range(_FIRST_IDEOGRAPH, _FIRST_IDEOGRAPH + max(0, size - len(_SHORT))))
    return _SHORT[:size] + "".join(ideographs)
