"""Whether the pieces of words begin where their morphemes do."""

import dataclasses
from collections.abc import Collection, Mapping
from itertools import accumulate

from mmrec_jax.tokenizers.encoder import Encoder


@dataclasses.dataclass(frozen=True)
class BoundaryScore:
    """Counts over distinct words that have a morpheme boundary inside.

    Attributes:
      words: how many there were.
      piece_boundaries: borders between pieces.
      morpheme_boundaries: gold borders.
      both: borders of both kinds.
      whole_words: words that are one token, and so have no border at all.
    """

    words: int
    piece_boundaries: int
    morpheme_boundaries: int
    both: int
    whole_words: int

    @property
    def precision(self) -> float:
        """The share of borders between pieces that are morpheme boundaries."""
        return self.both / max(self.piece_boundaries, 1)

    @property
    def recall(self) -> float:
        """The share of morpheme boundaries at which a piece begins."""
        return self.both / max(self.morpheme_boundaries, 1)


def score_boundaries(encoder: Encoder, gold: Mapping[str, Collection[int]]) -> BoundaryScore:
    """Compares the pieces of words, each behind a space, with gold boundaries.

    Args:
      encoder: the tokenizer.
      gold: the offsets (characters) at which a morpheme begins, the first one left out; words
        without any are not counted.
    """
    words = pieces = morphemes = both = whole = 0
    for word, expected in gold.items():
        if not expected:
            continue
        ends = list(accumulate(len(piece) for piece in encoder.pieces(f" {word}")))
        shift = ends[-1] - len(word)  # 0 where the pieces do not spell the space
        found = {end - shift for end in ends} - {0, len(word)}
        words += 1
        pieces += len(found)
        morphemes += len(expected)
        both += len(found & set(expected))
        whole += not found
    return BoundaryScore(words, pieces, morphemes, both, whole)
