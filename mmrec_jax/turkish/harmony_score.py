"""`vowel_harmony_score`: how many suffix vowels of a text are what vowel harmony wants."""

from collections.abc import Iterable

from mmrec_jax.turkish.harmony import harmony
from mmrec_jax.turkish.words import words


def vowel_harmony_score(texts: Iterable[str]) -> float:
    """The share of suffix vowels with a rule (`harmony`) that keep it. No reference is needed.

    `vowel_harmony_score(["evlarde kaldık"])`: `a` of `-lar` breaks the rule, `e` of `-de` too (it
    follows an a), `ı` of `-dık` keeps it: 1/3.

    Returns:
      A number in [0, 1]; 1 where no word has such a vowel.

    Raises:
      UserError: the package `turkish-treebanks` is not installed.
    """
    kept = total = 0
    for text in texts:
        for word in words(text):
            judged = [vowel.holds for vowel in harmony(word) if vowel.rule]
            kept += sum(judged)
            total += len(judged)
    return kept / total if total else 1.0
