"""Where morphemes begin inside words, and which tokens begin there."""

import itertools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.byte_alphabet import unspell
from mmrec_jax.tokenizers.pair_counts import BEGINS, ENDS, HOLDS

# A word -> the offsets (characters, above 0) at which a morpheme after the first begins.
Boundaries = Callable[[str], Collection[int]]


def token_morphemes(
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    tokens: Mapping[int, str],
    boundaries: Boundaries,
) -> NDArray[np.uint8]:
    """Where morphemes begin and end among the tokens of some words.

    Args:
      ids: int32, of all words, laid end to end.
      offsets: int64 [words + 1], where each begins.
      tokens: token by id.
      boundaries: asked for each word that is letters alone, without the space before it.

    Returns:
      uint8, as long as `ids`: `BEGINS`, `ENDS` and `HOLDS` of `pair_counts`.
    """
    found = np.zeros(len(ids), np.uint8)
    numbers = ids.tolist()
    borders = offsets.tolist()
    for start, stop in itertools.pairwise(borders):
        pieces = [unspell(tokens[number]) for number in numbers[start:stop]]
        text = b"".join(pieces)
        edges = {0, len(text), *_byte_offsets(text, boundaries)}
        ends = np.cumsum([len(piece) for piece in pieces]).tolist()
        for place, end in enumerate(ends, start):
            begin = end - len(pieces[place - start])
            found[place] = (
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
    return [len(text[: shift + place].encode()) for place in boundaries(word)]


def read_gold_boundaries(path: Path) -> dict[str, frozenset[int]]:
    """The boundaries of the words of a treebank that splits words into inflectional groups.

    In the Turkish Web Treebank (https://pypi.org/project/turkish-treebanks) a word is written as
    its groups, one a row; every row but the last has the relation `ig` to the next one. The
    boundaries are therefore those of *derivations*. A word that occurs with several analyses has
    those of the commonest one, of equally common ones the first.

    Raises:
      UserError: the file cannot be read or is not such a treebank.
    """
    found: dict[str, dict[frozenset[int], int]] = {}
    groups: list[str] = []
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        columns = line.split("\t")
        if len(columns) != 10:
            raise UserError(f"{path}:{number}: {len(columns)} columns; CoNLL-U has 10")
        groups.append(columns[1])
        if columns[7] == "ig":
            continue
        ends = np.cumsum([len(group) for group in groups[:-1]]).tolist()
        counts = found.setdefault("".join(groups), {})
        counts[frozenset(ends)] = counts.get(frozenset(ends), 0) + 1
        groups = []
    if not found:
        raise UserError(f"{path}: there are no words in this file")
    return {word: max(counts, key=lambda each: counts[each]) for word, counts in found.items()}
