"""Continued byte-pair learning: more merges inside the pre-tokens, after those there are."""

from collections.abc import Callable, Set

from mmrec_jax.tokenizers.merge_learning import Symbols, learn_merges
from mmrec_jax.tokenizers.vocabulary import Vocabulary


def learn_subwords(
    vocabulary: Vocabulary,
    words: Symbols,
    new_tokens: int,
    forbidden: Set[int],
    at_least: int,
    on_progress: Callable[[int], None],
    on_save: Callable[[Symbols], None],
) -> Symbols:
    """Learns merges until `vocabulary` has `new_tokens` new tokens.

    A pair whose token there is already is merged too: it becomes a second way to the token. Where
    an older merge can then go on from it, that is done at once, as an encoder would do it.

    Args:
      vocabulary: grows.
      words: see `word_symbols`.
      new_tokens: how many are wanted, those of before included.
      forbidden: pairs that must not be merged.
      at_least: see `learn_merges`.
      on_progress: see `learn_merges`.
      on_save: see `learn_merges`.

    Returns:
      The words in the new tokens.

    Raises:
      OutOfPairs: the text has fewer.
    """

    def make(pair: int, count: int) -> int | None:
        return None if pair in forbidden else vocabulary.merge(pair, count, "subword")

    return learn_merges(
        vocabulary, words, new_tokens, make, vocabulary.ranks, at_least, on_progress, on_save
    )
