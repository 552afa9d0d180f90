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
from collections.abc import Sequence

from mmrec_jax.turkish.letters import FRONT, ROUNDED, VOICELESS, VOWELS, fill, normalise

# Signs that stand for a vowel, with the letter and whether it counts as front.
_SIGN_VOWELS = {"{": "a", "[": "â", "}": "u", "%": "o", "E": "e"}
_FRONT = FRONT | frozenset(_SIGN_VOWELS)
_ROUNDED = ROUNDED | frozenset("}%")
_ANY_VOWEL = VOWELS + "".join(_SIGN_VOWELS) + "AH"
_AFTER_VOWEL = rf"(?<=[{re.escape(_ANY_VOWEL)}])"
_AFTER_VOICELESS = f"(?<=[{''.join(sorted(VOICELESS))}ÇK])"
_MARKS = "[~\"?^'*]"
# Before a suffix that begins with a vowel, or with a buffer that is dropped after a consonant.
_BEFORE_VOWEL = r"(?=\+[SNY]?[AH])"
_HARMONY = "vowel_harmony"
# Patterns and what takes their place, one after another; the rules in order: each sees the result
# of those before it. A name's apostrophe stands between its stem and "+", so that nothing matches.
_REPLACED: dict[str, Sequence[tuple[str, str]]] = {
    # su^+Hm: suy+Hm
    "y_insertion": [(r"\^(?=\+[HASNY])", "y"), (r"\^", "")],
    # lHk+SH: lHğ+SH, kitap~+Hm: kitab+Hm, kitap~+CH: kitap+çH
    "consonant_voicing": [
        (rf"{_AFTER_VOICELESS}({_MARKS}*\+N?)C", r"\1ç"),
        (rf'p~("?){_BEFORE_VOWEL}', r"b\1"),
        (rf't~("?){_BEFORE_VOWEL}', r"d\1"),
        (rf'ç("?){_BEFORE_VOWEL}', r"c\1"),
        (rf'nk("?){_BEFORE_VOWEL}', r"ng\1"),
        (rf'k("?){_BEFORE_VOWEL}', r"ğ\1"),
        ("~", ""),
        ("Ç", "ç"),
        ("K", "k"),
    ],
    # hak"+Hm: hakk+Hm, hak"+DA: hak+DA
    "gemination": [(rf'K"{_BEFORE_VOWEL}', "kk"), (rf'(.)"{_BEFORE_VOWEL}', r"\1\1"), ('"', "")],
    # oğu?l+SH: oğl+SH, ilga+HnHz: ilga+nHz; -Hyor alone drops a wide vowel: ara+Hyor: ar+Hyor
    "vowel_drop": [
        (rf"[^+]\?(?=[^+]*[^+']{_BEFORE_VOWEL})", ""),
        (r"\?", ""),
        (rf"[aeA](\+Hyor)(?![^+])|{_AFTER_VOWEL}({_MARKS}*\+)H", r"\1\2"),
    ],
    # ilga+SH: ilga+sH, koşaç+SH: koşaç+H
    "consonant_drop": [
        (rf"{_AFTER_VOWEL}({_MARKS}*\+)S", r"\1s"),
        (rf"{_AFTER_VOWEL}({_MARKS}*\+)N", r"\1n"),
        (rf"{_AFTER_VOWEL}({_MARKS}*\+)Y", r"\1y"),
        (r"\+[SNY]", "+"),
    ],
    # ipuç+DA: ipuç+tA, koala+DA: koala+dA
    "consonant_change": [(rf"{_AFTER_VOICELESS}((?:{_MARKS}*\+[SY]?)?)D", r"\1t"), ("D", "d")],
    # yE+yAcAk: yi+yAcAk; only ye- and de- have that sign
    "vowel_change": [(r"E(?=\+y)", "i"), (r"E(?![^+])", "e")],
    # bubi+SH+NA: bubi+Si+Ne; see `_harmonise`
    _HARMONY: [],
}
RULES = tuple(_REPLACED)


def apply_rules(lexical: str, rules: Sequence[str]) -> str:
    """A lexical form after some of `RULES`, by name, in the order given; "+" is kept."""
    form = normalise(lexical)
    for rule in rules:
        for pattern, replacement in _REPLACED[rule]:
            form = re.sub(pattern, replacement, form)
        if rule == _HARMONY:
            form = _harmonise(form)
    return form


def realise(lexical: str) -> str:
    """The letters of a lexical form: `realise("kitap~+SH+NDA") == "kitabında"`."""
    surface = apply_rules(lexical, RULES).replace("+", "")
    surface = re.sub(r"\*[^*]*\*", "", surface)
    # A C that is left follows no voiceless consonant.
    for sign, letter in {**_SIGN_VOWELS, "K": "k", "Ç": "ç", "C": "c"}.items():
        surface = surface.replace(sign, letter)
    return re.sub(r"[~\"?^*]", "", surface)


def _harmonise(form: str) -> str:
    stem, plus, suffixes = form.partition("+")
    before = next((x for x in reversed(stem) if x in _ANY_VOWEL), "")
    filled = fill(suffixes, front=before in _FRONT, rounded=before in _ROUNDED)
    return f"{stem}{plus}{filled}"
