"""Continued byte-pair learning, in stages: subwords inside the pre-tokens, then superwords."""

from collections.abc import Callable, Set

from mmrec_jax.tokenizers.merge_learning import Symbols, learn_merges
from mmrec_jax.tokenizers.vocabulary import Stage, Vocabulary


def learn_stage(
    stage: Stage,
    vocabulary: Vocabulary,
    sequence: Symbols,
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
      stage: what the merges are recorded as, "subword" or "superword".
      vocabulary: grows.
      sequence: see `word_symbols` and `superword_symbols`.
      new_tokens: how many are wanted, those of before included.
      forbidden: pairs that must not be merged.
      at_least: see `learn_merges`.
      on_progress: see `learn_merges`.
      on_save: see `learn_merges`.

    Returns:
      The sequence in the new tokens.

    Raises:
      OutOfPairs: the text has fewer.
    """

    def make(pair: int, count: int) -> int | None:
        return None if pair in forbidden else vocabulary.merge(pair, count, stage)

    return learn_merges(
        vocabulary, sequence, new_tokens, make, vocabulary.ranks, at_least, on_progress, on_save
    )
