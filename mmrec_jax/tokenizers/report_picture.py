"""The report card's picture: how many tokens a word takes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
from matplotlib.ticker import PercentFormatter

from mmrec_jax.tokenizers.text_score import TextScore

_MOST = 8  # words of more tokens are drawn as of so many
_COLUMNS = 3


def draw_tokens_per_word(texts: Sequence[TextScore], title: str, path: Path) -> None:
    """Writes a PNG with a panel a text: shares of its words by number of tokens, and the base's.

    Raises:
      OSError: it cannot be written.
    """
    rows = -(-len(texts) // _COLUMNS)
    columns = min(len(texts), _COLUMNS)
    # A Figure of its own: pyplot would pick a window system and keep global state.
    figure = matplotlib.figure.Figure(figsize=(4 * columns, 2.8 * rows + 0.6), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for text, axes in zip(texts, panels.flat, strict=False):
        for counts, label, shift in (
            (text.base_tokens_per_word, "base", -0.2),
            (text.tokens_per_word, "tokenizer", 0.2),
        ):
            shares = [0.0] * (_MOST + 1)
            for number, count in counts.items():
                shares[min(number, _MOST)] += count / sum(counts.values())
            places = [number + shift for number in range(1, _MOST + 1)]
            axes.bar(places, shares[1:], width=0.4, label=label)
        axes.set_title(text.name, fontsize="small")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid(axis="y", alpha=0.3)
    labels = [str(number) for number in range(1, _MOST)] + [f"{_MOST}+"]
    panels.flat[0].set_xticks(range(1, _MOST + 1), labels)
    panels.flat[0].legend(fontsize="small")
    figure.supxlabel("tokens of a word", fontsize="small")
    figure.suptitle(title)
    for axes in panels.flat[len(texts) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=100)
