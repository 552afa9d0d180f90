"""Consonants: which are voiceless, and what voicing makes of the last one of a stem."""

VOICELESS = frozenset("pçtkfhsş")

_VOICED = {"p": "b", "ç": "c", "t": "d", "k": "ğ"}


def voice_last(stem: str) -> str:
    """`kitap` -> `kitab`, `renk` -> `reng`, `katalog` -> `kataloğ`; others as they are."""
    if stem.endswith("nk"):
        return stem[:-1] + "g"
    if stem.endswith("og"):
        return stem[:-1] + "ğ"
    return stem[:-1] + _VOICED.get(stem[-1], stem[-1])
