"""How byte-level BPE writes bytes as characters (GPT-2; Radford et al. 2019).

A byte that is a visible Latin-1 character stands for itself, the others for U+0100, U+0101, ... in
their order: a space is "Ġ".
"""

_VISIBLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
_CHARACTERS = {
    **{byte: chr(byte) for byte in _VISIBLE},
    **{byte: chr(0x100 + place) for place, byte in enumerate(_HIDDEN)},
}
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}

ALPHABET = frozenset(_BYTES)


def spell(text: str) -> str:
    """The UTF-8 bytes of `text`, a character a byte."""
    return "".join(_CHARACTERS[byte] for byte in text.encode("utf-8"))


def unspell(token: str) -> bytes:
    """The bytes of a token.

    Raises:
      KeyError: a character stands for no byte.
    """
    return bytes(_BYTES[character] for character in token)
