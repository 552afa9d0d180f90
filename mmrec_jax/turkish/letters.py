"""Turkish letters: case, vowels and vowel harmony, consonants, and the words that they spell.

Lewis, Turkish Grammar (2nd ed., 2000), I 24-33. A suffix vowel is either two-fold (`A`: e after a
front vowel, a after a back one) or four-fold (`H`: i, ü, ı or u, which also copies the rounding).

Functions of `mmrec_jax.turkish` take text in any normal form; those that ask for letters in lower
case take what `lower` makes of it.
"""

import re
import unicodedata

VOWELS = "aeıioöuüâîû"
FRONT = frozenset("eiöüî")
ROUNDED = frozenset("oöuüû")
VOICELESS = frozenset("pçtkfhsş")

# What people write between a name or a number and its suffixes.
APOSTROPHES = "'’‘ʼ`´＇"
# Digits, underscores and apostrophes are not letters; marks that NFC leaves apart belong to theirs.
LETTERS = re.compile(rf"(?:[^\W\d_{APOSTROPHES}]++[\u0300-\u036f]*+)++")
# A letter in lower case that Turkish has not: ə, ñ, q, w, x, ā ...
FOREIGN_LETTER = re.compile(r"[^\W\d_abcçdefgğhıijklmnoöprsştuüvyzâîû]")
# A number from its first digit: `1.000`, `3,5`, `18:00`.
NUMBER = re.compile(r"(?<!\d)(?<!\d[.,:])(?>\d+(?:[.,:]\d+)*)")
# Letters, and an apostrophe between letters, perhaps after a full stop (`A.Ş.'ye`); a number before
# letters that follow it at once or after an apostrophe (`3'te`, `90lar`, `2.'si`).
_SUFFIXES = rf"\.?[{APOSTROPHES}]{LETTERS.pattern}"
WORD = re.compile(
    rf"(?:{NUMBER.pattern}{_SUFFIXES}|(?:{NUMBER.pattern})?{LETTERS.pattern})(?:{_SUFFIXES})*"
)

_LOWER = str.maketrans({"I": "ı", "İ": "i"})
_FOUR_FOLD = {(False, False): "ı", (True, False): "i", (False, True): "u", (True, True): "ü"}
_VOICED = {"p": "b", "ç": "c", "t": "d", "k": "ğ"}


def normalise(text: str) -> str:
    """NFC(text) without the second dot (U+0307) that other programs give an i.

    `"İ".lower()` and Unicode's case mapping make of `İ` an i with two dots, which NFC keeps.
    """
    return unicodedata.normalize("NFC", text).replace("i\u0307", "i")


def words(text: str) -> list[str]:
    """The words of a text, in order and normalised; numbers only with their suffixes.

    `words("Ankara'da 3 ev, 3'te!") == ["Ankara'da", "ev", "3'te"]`.
    """
    return WORD.findall(normalise(text))


def lower(text: str) -> str:
    """normalise(text) in lower case: `lower("DIŞ İŞLERİ") == "dış işleri"`.

    `str.lower` would make `diş` of `DIŞ`.
    """
    return normalise(text).translate(_LOWER).lower()


def last_vowel(text: str) -> str:
    """The last vowel of a text in lower case, or "" if it has none."""
    return next((letter for letter in reversed(normalise(text)) if letter in VOWELS), "")


def disharmony(letters: str) -> list[int]:
    """How many vowels of each prefix do not follow from those before, index 0 the empty one.

    `disharmony("kitap")[-1] == 1`: a root that is not Turkish by origin.
    """
    counts, before = [0], ""
    for letter in letters:
        broken = False
        if letter in VOWELS:
            wanted = follow(before, "A" if letter in "ae" else "H")
            broken, before = before != "" and letter != wanted, letter
        counts.append(counts[-1] + broken)
    return counts


def fill(letters: str, *, front: bool, rounded: bool) -> str:
    """Suffixes with each `A` and `H` resolved by vowel harmony: `lArH` is `ları` or `leri`.

    `front` and `rounded` describe the vowel before `letters`.
    """
    filled = []
    for letter in letters:
        if letter == "A":
            letter = "e" if front else "a"
        elif letter == "H":
            letter = _FOUR_FOLD[front, rounded]
        if letter in VOWELS:
            front, rounded = letter in FRONT, letter in ROUNDED
        filled.append(letter)
    return "".join(filled)


def follow(text: str, letters: str) -> str:
    """`fill` after a text in lower case: `follow("göz", "lHk") == "lük"`."""
    vowel = last_vowel(text)
    return fill(letters, front=vowel in FRONT, rounded=vowel in ROUNDED)


def voice_last(stem: str) -> str:
    """Voices a final p, ç, t, k, og: `kitab`, `reng`, `kataloğ`; other stems are unchanged."""
    if stem.endswith("nk"):
        return stem[:-1] + "g"
    if stem.endswith("og"):
        return stem[:-1] + "ğ"
    return stem[:-1] + _VOICED.get(stem[-1], stem[-1])
