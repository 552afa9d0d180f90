"""What a tokenizer is worth beside another, as numbers and as Markdown."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mmrec_jax.tokenizers.boundary_score import BoundaryScore
from mmrec_jax.tokenizers.text_score import TextScore


@dataclasses.dataclass(frozen=True)
class ReportCard:
    """All that was measured of a tokenizer and of its base.

    Attributes:
      tokenizer: its path.
      base: that of the other.
      vocabulary: how many ids it has.
      new_tokens: how many tokens the base lacks; None where the two cannot be compared so.
      unreachable: the new tokens that no text gives.
      texts: a score a text.
      boundaries: pieces against gold morphology, by "tokenizer" and "base"; may be empty.
    """

    tokenizer: str
    base: str
    vocabulary: int
    new_tokens: int | None
    unreachable: Sequence[str] | None
    texts: Sequence[TextScore]
    boundaries: Mapping[str, BoundaryScore]

    def record(self) -> dict[str, Any]:
        """Everything, fit for JSON."""
        content = dataclasses.asdict(self)
        content["texts"] = [{**dataclasses.asdict(each), **each.figures()} for each in self.texts]
        content["boundaries"] = {
            name: {
                **dataclasses.asdict(each),
                "precision": each.precision,
                "recall": each.recall,
            }
            for name, each in self.boundaries.items()
        }
        return content

    def markdown(self) -> str:
        """Two tables and a few lines."""
        lines = [f"# {self.tokenizer}", "", f"Beside `{self.base}`. {self.vocabulary:,} ids."]
        if self.new_tokens is not None and self.unreachable is not None:
            lines[-1] += (
                f" New tokens: {self.new_tokens:,}, unreachable: {len(self.unreachable):,}."
            )
        lines += [
            "",
            "| text | words | tokens/word | base | bytes/token | characters/token "
            "| fewer tokens | ceiling | sentences changed | mixed vowels | base |",
            "|" + "---|" * 11,
        ]
        for text in self.texts:
            figures = text.figures()
            lines.append(
                f"| {text.name} | {text.words:,} | {figures['tokens_a_word']:.3f} "
                f"| {figures['base_tokens_a_word']:.3f} | {figures['bytes_a_token']:.3f} "
                f"| {figures['characters_a_token']:.3f} | {figures['reduction']:.2%} "
                f"| {_percent(figures['ceiling'])} | {figures['changed']:.2%} "
                f"| {_percent(text.mixed)} | {_percent(text.base_mixed)} |"
            )
        lines += [
            "",
            "Fewer tokens: the base's tokens that are saved. Ceiling: those that would be if every "
            "pre-token of the base were one token. Changed: other ids than the base's. Mixed "
            "vowels: pieces with front and back vowels in one word, of those with two or more.",
        ]
        if self.boundaries:
            lines += [
                "",
                "| pieces against gold morphemes | precision | recall | words in one piece |",
                "|---|---|---|---|",
            ]
            lines += [
                f"| {name} | {each.precision:.2%} | {each.recall:.2%} "
                f"| {each.whole_words:,} of {each.words:,} |"
                for name, each in self.boundaries.items()
            ]
        return "\n".join(lines) + "\n"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.2%}"
