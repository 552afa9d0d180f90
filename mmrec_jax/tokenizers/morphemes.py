"""Where morphemes begin inside words, and which tokens begin there."""

import itertools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.treebank import annotated_words
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import unspell
from mmrec_jax.tokenizers.learning import BEGINS, ENDS, HOLDS

# A word -> the offsets (characters, above 0) at which a morpheme after the first begins.
Boundaries = Callable[[str], Collection[int]]


def token_morphemes(
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    tokens: Mapping[int, str],
    boundaries: Boundaries,
) -> NDArray[np.uint8]:
    """Where morphemes begin and end among the tokens of some words.

    Takes int32 `ids` of all words, concatenated, and int64 `offsets` [words + 1]; `boundaries` is
    called for each word of letters alone, without the space before it. Returns uint8, as long as
    `ids`: `BEGINS`, `ENDS` and `HOLDS` of `learning.py`.
    """
    found = np.zeros(len(ids), np.uint8)
    numbers = ids.tolist()
    for start, stop in itertools.pairwise(offsets.tolist()):
        parts = [unspell(tokens[number]) for number in numbers[start:stop]]
        text = b"".join(parts)
        edges = {0, len(text), *_byte_offsets(text, boundaries)}
        end = 0
        for index, part in enumerate(parts, start):
            begin, end = end, end + len(part)
            found[index] = (
                BEGINS * (begin in edges)
                | ENDS * (end in edges)
                | HOLDS * any(begin < edge < end for edge in edges)
            )
    return found


def _byte_offsets(data: bytes, boundaries: Boundaries) -> list[int]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return []
    word = text.removeprefix(" ")
    if not word.isalpha():
        return []
    shift = len(text) - len(word)
    return [len(text[: shift + offset].encode()) for offset in boundaries(word)]


def read_gold_boundaries(path: Path) -> dict[str, frozenset[int]]:
    """The boundaries of the words of a treebank that splits them, see `annotated_words`.

    In the Turkish Web Treebank (https://pypi.org/project/turkish-treebanks) they are those of
    *derivations*. A word that occurs with several analyses has the boundaries of the commonest one,
    of equally common ones the first.

    Raises:
      UserError: the file cannot be read or is not such a treebank.
    """
    found: dict[str, dict[frozenset[int], int]] = {}
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None
    for word in annotated_words(text, str(path)):
        ends = frozenset(word.boundaries)
        counts = found.setdefault(word.form, {})
        counts[ends] = counts.get(ends, 0) + 1
    if not any(ends for counts in found.values() for ends in counts):
        raise UserError(
            f"{path}: no word is split into inflectional groups (rows with the relation ig) here"
        )
    return {word: max(counts, key=lambda each: counts[each]) for word, counts in found.items()}
