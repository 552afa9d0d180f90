"""The eight vowels, and what they ask of the vowel that follows.

Lewis, Turkish Grammar (2nd ed., 2000), I 24-33. A suffix vowel is either two-fold (`A`: e after a
front vowel, a after a back one) or four-fold (`H`: i, ü, ı or u, which also copies the rounding).
"""

VOWELS = "aeıioöuüâîû"
FRONT = frozenset("eiöüî")
ROUNDED = frozenset("oöuüû")
TWO_FOLD = frozenset("ae")
FOUR_FOLD = frozenset("ıiuü")

_FOUR = {(False, False): "ı", (True, False): "i", (False, True): "u", (True, True): "ü"}


def last_vowel(text: str) -> str:
    """The last vowel of a text in lower case, or "" where there is none."""
    return next((letter for letter in reversed(text) if letter in VOWELS), "")


def fold_of(vowel: str) -> str | None:
    """The rule that a suffix vowel shows: two-fold e/a, four-fold ı/i/u/ü, None for the others."""
    if vowel in TWO_FOLD:
        return "A"
    return "H" if vowel in FOUR_FOLD else None


def resolve(fold: str, *, front: bool, rounded: bool) -> str:
    """The vowel that an archiphoneme becomes: `resolve("H", front=True, rounded=False) == "i"`."""
    if fold == "A":
        return "e" if front else "a"
    return _FOUR[front, rounded]


def fill(letters: str, *, front: bool, rounded: bool) -> str:
    """`letters` with each `A` and `H` as vowel harmony wants it: `lArH` is `ları` or `leri`.

    Args:
      letters: of suffixes, one behind the other.
      front: whether the vowel before them counts as front.
      rounded: whether it counts as rounded.
    """
    filled = []
    for letter in letters:
        if letter in ("A", "H"):
            letter = resolve(letter, front=front, rounded=rounded)
        if letter in VOWELS:
            front, rounded = letter in FRONT, letter in ROUNDED
        filled.append(letter)
    return "".join(filled)


def follows(vowel: str, before: str, *, front: bool | None = None) -> bool:
    """Whether a suffix vowel may stand after the vowel `before`.

    Args:
      vowel: of the suffix.
      before: the vowel before it in the word.
      front: whether the stem counts as front; None: as `before` is. A few stems with a back vowel
        take front suffixes (`saat-ler`).

    Returns:
      True also where the rule does not apply: `vowel` is neither two- nor four-fold, or there is
      no vowel before it.
    """
    fold = fold_of(vowel)
    if fold is None or before not in VOWELS or not before:
        return True
    is_front = before in FRONT if front is None else front
    return vowel == resolve(fold, front=is_front, rounded=before in ROUNDED)
