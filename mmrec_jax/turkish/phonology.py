"""From the lexical form of a word to its letters: `sulfata+lAr` becomes `sulfatalar`.

A lexical form is a stem and its suffixes, joined by "+". Its signs:

| sign | where | stands for |
|---|---|---|
| `A` `H` | suffix | a/e and ı/i/u/ü, chosen by vowel harmony |
| `D` `C` | suffix | d/t and c/ç, chosen by the consonant before |
| `S` `N` `Y` | first in a suffix | s, n, y after a vowel, nothing after a consonant |
| `~` | after a stem's last p or t | that consonant is voiced before a vowel (`kitap~`) |
| `K` `Ç` | last in a stem | a k or ç that is *not* voiced before a vowel (`haK`) |
| `"` | last in a stem | the consonant is doubled before a vowel (`hak"`) |
| `?` | after a stem's last vowel | that vowel drops before a vowel (`oğu?l`) |
| `^` | last in a stem | a y is inserted before a vowel (`su^`) |
| `{` `[` `}` `%` | stem | a, â, u, o that are followed by front suffixes (`sa{t`) |
| `*...*` | last in a stem | how a foreign word's end is pronounced, if not as written |
| `E` | last in a stem | an e that becomes i before y (`yE`, `dE`) |
| `'` | last in a stem | the apostrophe of a name; the stem before it does not change |

The signs are those of Google's Turkish morphology (Öztürel, Kayadelen, Demirşahin 2019, "A
syntactically expressive morphological analyzer for Turkish"), the rules Lewis's (2000), I-II.
"""

import re
from collections.abc import Callable, Sequence

from mmrec_jax.turkish.letters import FRONT, ROUNDED, VOICELESS, VOWELS, fill, normalise, voice_last

# Signs that stand for a vowel, with the letter and whether it counts as front.
_SIGN_VOWELS = {"{": "a", "[": "â", "}": "u", "%": "o", "E": "e"}
_FRONT = FRONT | frozenset(_SIGN_VOWELS)
_ROUNDED = ROUNDED | frozenset("}%")
_ANY_VOWEL = frozenset(VOWELS) | frozenset(_SIGN_VOWELS) | frozenset("AH")
_VOICELESS = VOICELESS | frozenset("ÇK")
_MARKS = frozenset("~\"?^'*")
# A suffix that begins with a vowel, or with a buffer that is dropped after a consonant.
_VOWEL_FIRST = re.compile("[SNY]?[AH]")


def insert_y(parts: list[str]) -> list[str]:
    """`su^+Hm` becomes `suy+Hm`."""
    stem = parts[0]
    if "^" not in stem:
        return parts
    suffix = parts[1] if len(parts) > 1 else ""
    plain = stem.replace("^", "")
    wanted = suffix[:1] in ("H", "A", "S", "N", "Y") and not stem.endswith("'")
    return [plain + "y" * wanted, *parts[1:]]


def voice(parts: list[str]) -> list[str]:
    """`lHk+SH` becomes `lHğ+SH`, `kitap~+Hm` `kitab+Hm`, and `kitap~+CH` `kitap+çH`."""
    spoken = [_spoken(part) for part in parts]
    changed = []
    for index, part in enumerate(parts):
        if index and part.startswith(("C", "NC")) and spoken[index - 1][-1:] in _VOICELESS:
            part = part.replace("C", "ç", 1)
        following = parts[index + 1] if index + 1 < len(parts) else ""
        if _VOWEL_FIRST.match(following):
            part = _voice_end(part)
        if index == 0:
            part = part.replace("~", "").replace("Ç", "ç").replace("K", "k")
        changed.append(part)
    return changed


def double(parts: list[str]) -> list[str]:
    """`hak"+Hm` becomes `hakk+Hm`, `hak"+DA` `hak+DA`."""
    stem, *suffixes = parts
    if '"' not in stem:
        return parts
    plain = stem.replace('"', "")
    if suffixes and _VOWEL_FIRST.match(suffixes[0]) and not stem.endswith("'"):
        plain = plain.replace("K", "k")
        plain += plain[-1]
    return [plain, *suffixes]


def drop_vowels(parts: list[str]) -> list[str]:
    """`oğu?l+SH` becomes `oğl+SH`, `ilga+HnHz` `ilga+nHz`, `ara+Hyor` `ar+Hyor`."""
    stem, *suffixes = parts
    if "?" in stem:
        drops = suffixes and _VOWEL_FIRST.match(suffixes[0]) and not stem.endswith("'")
        stem = re.sub("(.)[?]", "" if drops else r"\1", stem)
    parts = [stem, *suffixes]
    for index in range(1, len(parts)):
        before = _spoken(parts[index - 1])
        if parts[index].startswith("H") and before[-1:] in _ANY_VOWEL and before:
            # Only -Hyor drops the vowel before it, and only a wide one.
            if parts[index] == "Hyor" and before[-1] in "aeA":
                parts[index - 1] = parts[index - 1][:-1]
            else:
                parts[index] = parts[index][1:]
    return parts


def drop_buffers(parts: list[str]) -> list[str]:
    """`ilga+SH` becomes `ilga+sH`, `koşaç+SH` `koşaç+H`."""
    parts = list(parts)
    for index in range(1, len(parts)):
        if parts[index][:1] in ("S", "N", "Y"):
            after_vowel = _spoken(parts[index - 1])[-1:] in _ANY_VOWEL
            buffer = parts[index][0].lower() if after_vowel else ""
            parts[index] = buffer + parts[index][1:]
    return parts


def assimilate(parts: list[str]) -> list[str]:
    """`ipuç+DA` becomes `ipuç+tA`, `koala+DA` `koala+dA`."""
    parts = list(parts)
    for index in range(1, len(parts)):
        while "D" in parts[index]:
            start = parts[index].partition("D")[0]
            before = _spoken(parts[index - 1]) + start.lstrip("SNY")
            voiceless = before[-1:] in _VOICELESS and not start.endswith("N")
            parts[index] = parts[index].replace("D", "t" if voiceless else "d", 1)
    return parts


def raise_vowels(parts: list[str]) -> list[str]:
    """`yE+yAcAk` becomes `yi+yAcAk`: only `ye-` and `de-` have that sign."""
    stem, *suffixes = parts
    if not stem.endswith("E"):
        return parts
    raised = bool(suffixes) and suffixes[0].startswith("y")
    return [stem[:-1] + ("i" if raised else "e"), *suffixes]


def harmonise(parts: list[str]) -> list[str]:
    """`bubi+SH+NA` becomes `bubi+Si+Ne`."""
    stem, *suffixes = parts
    before = next((x for x in reversed(_spoken(stem)) if x in _ANY_VOWEL), "")
    joined = "".join("+" + suffix for suffix in suffixes)
    filled = fill(joined, front=before in _FRONT, rounded=before in _ROUNDED)
    return (stem + filled).split("+")


# In order: each sees the result of those before it.
RULES: dict[str, Callable[[list[str]], list[str]]] = {
    "y_insertion": insert_y,
    "consonant_voicing": voice,
    "gemination": double,
    "vowel_drop": drop_vowels,
    "consonant_drop": drop_buffers,
    "consonant_change": assimilate,
    "vowel_change": raise_vowels,
    "vowel_harmony": harmonise,
}


def apply_rules(lexical: str, rules: Sequence[str]) -> str:
    """A lexical form after some of `RULES`, by name, in the order given; "+" is kept."""
    parts = normalise(lexical).split("+")
    for rule in rules:
        parts = RULES[rule](parts)
    return "+".join(parts)


def realise(lexical: str) -> str:
    """The letters of a lexical form: `realise("kitap~+SH+NDA") == "kitabında"`."""
    surface = apply_rules(lexical, tuple(RULES)).replace("+", "")
    surface = re.sub(r"\*[^*]*\*", "", surface)
    # A C that is left follows no voiceless consonant.
    for sign, letter in {**_SIGN_VOWELS, "K": "k", "Ç": "ç", "C": "c"}.items():
        surface = surface.replace(sign, letter)
    return "".join(letter for letter in surface if letter == "'" or letter not in _MARKS)


def _spoken(part: str) -> str:
    """A part without marks, a foreign word's end as it is pronounced."""
    return "".join(letter for letter in part if letter not in _MARKS)


def _voice_end(part: str) -> str:
    """The last consonant voiced; not that of a name or of a word that is pronounced otherwise."""
    match = re.fullmatch('(.*?)(p~|t~|k|ç)("?)', part, re.DOTALL)
    if match is None:
        return part
    before, consonant, mark = match.groups()
    return voice_last(before + consonant[0]) + mark
