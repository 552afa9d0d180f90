"""What a tokenizer is worth beside another: numbers, a Markdown table and a picture."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
from matplotlib.ticker import PercentFormatter

from mmrec_jax.tokenizers.boundary_score import BoundaryScore
from mmrec_jax.tokenizers.text_score import TextScore

_MOST_TOKENS = 10  # a word of more is drawn as one of so many


@dataclasses.dataclass(frozen=True)
class ReportCard:
    """All that was measured.

    Attributes:
      tokenizer: its path.
      base: that of the one it is compared with.
      vocabulary: ids of the tokenizer.
      new_tokens: tokens that the base lacks.
      unreachable: of these, how many no text gives; None where that cannot be said.
      texts: a score a text.
      base_words: `TextScore.tokens_per_word` of the base, a text each.
      boundaries: of the tokenizer and of the base against gold morphology, if there is any.
      disharmonic: shares of the new tokens and of ...
    """

    tokenizer: str
    base: str
    vocabulary: int
    new_tokens: int
    unreachable: int | None
    texts: Sequence[TextScore]
    boundaries: dict[str, BoundaryScore]
