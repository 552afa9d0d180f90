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
      disharmony: share of the pieces with two vowels or more whose vowels break vowel harmony, by
        "tokenizer" and "base".
    """

    tokenizer: str
    base: str
    vocabulary: int
    new_tokens: int | None
    unreachable: Sequence[str] | None
    texts: Sequence[TextScore]
    boundaries: Mapping[str, BoundaryScore]
    disharmony: Mapping[str, float]

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
            "| fewer tokens | ceiling | sentences changed |",
            "|" + "---|" * 9,
        ]
        for text in self.texts:
            figures = text.figures()
            ceiling = "" if figures["ceiling"] is None else f"{figures['ceiling']:.2%}"
            lines.append(
                f"| {text.name} | {text.words:,} | {figures['tokens_a_word']:.3f} "
                f"| {figures['base_tokens_a_word']:.3f} | {figures['bytes_a_token']:.3f} "
                f"| {figures['characters_a_token']:.3f} | {figures['reduction']:.2%} "
                f"| {ceiling} | {figures['changed']:.2%} |"
            )
        lines += [
            "",
            "Fewer tokens: share of the base's tokens that are saved. Ceiling: the share that would "
            "be if every pre-token of the base were one token. Changed: other ids than the base's.",
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
        for name, share in self.disharmony.items():
            lines += ["", f"Pieces of the {name} whose vowels break vowel harmony: {share:.2%}."]
        return "\n".join(lines) + "\n"
