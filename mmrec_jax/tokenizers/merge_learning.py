"""Learning merges from a sequence of symbols until there are enough tokens."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.tokenizers.pair_counts import PairCounts
from mmrec_jax.tokenizers.vocabulary import Vocabulary

# The counts are begun anew after so many tokens: the dead places go, and a run that is continued
# from a saved state goes on as one that was not interrupted.
_BETWEEN_SAVES = 5_000
_BETWEEN_REPORTS = 100


@dataclasses.dataclass(frozen=True, eq=False)
class Symbols:
    """What merges are learned from.

    Attributes:
      symbols: int32 [N], token ids; -1 where no merge may reach across.
      weights: int64 [N], what an occurrence counts.
      morphemes: uint8 [N] or None: see `PairCounts`.
    """

    symbols: NDArray[np.int32]
    weights: NDArray[np.int64]
    morphemes: NDArray[np.uint8] | None = None


class OutOfPairs(Exception):
    """The text has no more pairs that occur often enough; `args` is how many tokens were made."""


def learn_merges(
    vocabulary: Vocabulary,
    sequence: Symbols,
    new_tokens: int,
    make: Callable[[int, int], int | None],
    ranks: Mapping[int, int],
    at_least: int,
    on_progress: Callable[[int], None],
    on_save: Callable[[Symbols], None],
) -> Symbols:
    """Merges the commonest pair again and again.

    Args:
      vocabulary: grows by the merges.
      sequence: to learn from.
      new_tokens: stop at this many (`Vocabulary.new_tokens`).
      make: enters a merge, given the pair's key and count; returns what it makes, None where the
        pair must not be merged.
      ranks: merges that are done at once where they become possible, see `PairCounts`.
      at_least: what a pair must count.
      on_progress: called with `Vocabulary.new_tokens` now and then.
      on_save: called at intervals that depend on the number of tokens alone.

    Returns:
      The sequence after all merges.

    Raises:
      OutOfPairs: there are not enough pairs.
    """
    while vocabulary.new_tokens < new_tokens:
        until = min(new_tokens, vocabulary.new_tokens + _BETWEEN_SAVES)
        pairs = PairCounts(sequence.symbols, sequence.weights, sequence.morphemes, ranks, at_least)
        while vocabulary.new_tokens < until:
            best = pairs.best()
            if best is None:
                raise OutOfPairs(vocabulary.new_tokens)
            pair, count = best
            result = make(pair, count)
            if result is None:
                pairs.refuse(pair)
                continue
            pairs.merge(pair, result)
            if vocabulary.new_tokens % _BETWEEN_REPORTS == 0:
                on_progress(vocabulary.new_tokens)
        sequence = Symbols(*pairs.left())
        on_progress(vocabulary.new_tokens)
        on_save(sequence)
    return sequence


def word_symbols(
    ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
    morphemes: NDArray[np.uint8] | None,
) -> Symbols:
    """The words of a text, each once, as a sequence to learn from.

    Args:
      ids: int32, of all words, laid end to end.
      offsets: int64 [words + 1], where each begins.
      counts: int64 [words], how often each occurs.
      morphemes: uint8, as long as `ids`, or None: see `PairCounts`.
    """
    lengths = np.diff(offsets)
    is_token = np.ones(len(ids) + len(lengths), bool)
    is_token[np.cumsum(lengths + 1) - 1] = False
    symbols = np.full(len(is_token), -1, np.int32)
    symbols[is_token] = ids
    spread = None
    if morphemes is not None:
        spread = np.zeros(len(is_token), np.uint8)
        spread[is_token] = morphemes
    return Symbols(symbols, np.repeat(counts, lengths + 1), spread)
