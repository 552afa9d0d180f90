"""How a number, an abbreviation or a name is read aloud before its suffixes.

* **A number** by its last word: `3'te` (üç), `1990'larda` (doksan), `1.000'i` (bin).
* **An abbreviation** of capitals by the name of its last letter, as the Turkish Language
  Association (TDK) has it or as English has: `ABD'ye` (de), `TBMM'nin` (me), `IBM'in` (em); K is
  `ke` or `ka`. One that can be spoken as a word may be, in English, too: `MİT'in`, `GAP'a`,
  `HIV'in`. One with q, w or x is foreign, and not known; neither are Roman numerals.
* **A name** as it is written, if it is spelled as Turkish is: `Ankara'da`, `Merkel'in`. How others
  are read is not known: `Shakespeare'in`, `Docker'ı`. `_FOREIGN` has the signs of a foreign
  spelling; roots of the lexicon may have the weaker ones of `_PERHAPS_FOREIGN`.
* **Lower-case letters without a vowel** are short for a word that is not known: `km'ye`.
"""

import re
from collections.abc import Callable

from mmrec_jax.turkish.letters import (
    APOSTROPHES,
    FOREIGN_LETTER,
    VOWELS,
    last_vowel,
    lower,
    normalise,
)
from mmrec_jax.turkish.roots import FRONT_SUFFIXES, noun_ends
from mmrec_jax.turkish.suffixes import End, end_of

_DIGITS = ("sıfır", "bir", "iki", "üç", "dört", "beş", "altı", "yedi", "sekiz", "dokuz")
_TENS = ("", "on", "yirmi", "otuz", "kırk", "elli", "altmış", "yetmiş", "seksen", "doksan")
# The power of ten of a last word; all above have the vowels of `trilyon`.
_POWERS = ((12, "trilyon"), (9, "milyar"), (6, "milyon"), (3, "bin"), (2, "yüz"))
_NUMBER = re.compile(r"(\d+(?:[.,:]\d+)*)(\.?)%?$")
_GROUPED = re.compile(r"\d{1,3}([.,])\d{3}(?:\1\d{3})*")
# The names of a letter are the vowel itself, or the consonant and an e; and as English has them.
_LETTER_NAMES = {"k": ("ke", "ka")} | {x: (x + "e", "e" + x) for x in "flmnrs"}
_ROMAN = re.compile("[IVX]{2,}")
_LONGEST_SPELLED = 5  # a longer word in capitals is one that is written so for emphasis

_VOWEL, _CONSONANT = f"[{VOWELS}]", f"[^{VOWELS}]"
# Two consonants that may end a Turkish syllable: `kart`, `dans`, `film`.
_CODA = "(?:[lrmnyvsşfh][ptkçs]|[lr][mnfzşbdgcv]|k[st])"
_SPEAKABLE = re.compile(
    f"{_CONSONANT}?{_VOWEL}(?:{_CONSONANT}{{0,2}}{_VOWEL})*(?:{_CONSONANT}|{_CODA})?"
)
_FOREIGN = re.compile(
    f"{FOREIGN_LETTER.pattern}|ee|oo|ou|au|eu|ea|ei|ie|oe|ue|oi|ck|tch|ght"
    f"|{_CONSONANT}y$|(?:sh|ch|th|ph)$|^(?:sh|ch|th|ph)"
)
# An e that may be silent, -er and -on that may be English, clusters that no Turkish syllable has.
_PERHAPS_FOREIGN = re.compile(
    f"{_CONSONANT}(?:e|er|ers|ion)$|^{_CONSONANT}{{2}}|{_CONSONANT}{{4}}"
    f"|{_VOWEL}(?!{_CODA}$|{_CONSONANT}$){_CONSONANT}+$"
)


def readings(head: str, is_root: Callable[[str], object]) -> tuple[End, ...]:
    """The ends that suffixes may see of what stands before them, the likeliest first.

    `1990` has the end of `doksan`, `ABD` that of `de`, `PKK` those of `ke` and `ka`; of
    `Shakespeare` there is none: how it is read is not known.

    `head`: in its own case. `is_root`: whether letters in lower case are a root of the lexicon.
    """
    head = normalise(head)
    number = _NUMBER.search(head)
    if number:
        ends = tuple(map(end_of, dict.fromkeys(_number_words(number[1]))))
        return tuple(end._replace(last="v") for end in ends) if number[2] else ends
    tail = re.sub(f"[.{APOSTROPHES}]", "", re.split(r"\d", head)[-1])
    letters = lower(tail)
    if not letters.isalpha():
        return ()
    if tail.isupper() and (len(tail) <= _LONGEST_SPELLED or not last_vowel(letters)):
        return () if _ROMAN.fullmatch(tail) else _of_abbreviation(letters)
    if not last_vowel(letters) or _FOREIGN.search(letters):
        return ()
    if _PERHAPS_FOREIGN.search(letters) and not (set(letters) & set("çğöşü") or is_root(letters)):
        return ()
    ends = noun_ends(letters)
    if letters.endswith("on"):  # `Boston'un`, `Clinton'ın`
        return (*ends, ends[0]._replace(rounded=False))
    # A name in -al, -ol or -ul may be Arabic or Turkish: `Meral'e`, `Ünal'a`.
    return ends if letters in FRONT_SUFFIXES else tuple(dict.fromkeys((*ends, end_of(letters))))


def _number_words(number: str) -> tuple[str, ...]:
    """The words that a number may end in when it is read."""
    if _GROUPED.fullmatch(number):
        return (_last_word(re.sub("[.,]", "", number)),)
    *before, last = re.split("[.,:]", number)
    if before and not last.strip("0"):  # 18:00, on sekiz or on sekiz sıfır sıfır
        return _last_word(before[-1]), "sıfır"
    return (_last_word(last), "buçuk") if before and last == "5" else (_last_word(last),)


def _last_word(digits: str) -> str:
    digits = digits.lstrip("0")
    zeros = len(digits) - len(digits.rstrip("0"))
    if zeros == 0:
        return _DIGITS[int(digits[-1:] or "0")]
    if zeros == 1:
        return _TENS[int(digits[-2])]
    return next(word for power, word in _POWERS if zeros >= power)


def _of_abbreviation(letters: str) -> tuple[End, ...]:
    """Spelled letter by letter, and as a word where it can be spoken."""
    if FOREIGN_LETTER.search(letters):
        return ()
    last = letters[-1]
    names = (last,) if last in VOWELS else _LETTER_NAMES.get(last, (last + "e",))
    spoken = (letters,) if len(letters) > 2 and _SPEAKABLE.fullmatch(letters) else ()
    english = tuple(each.replace("ı", "i") for each in spoken)
    return tuple(dict.fromkeys(map(end_of, (*spoken, *english, *names))))
