"""What decides the bytes of prepared shards, beside the text and the tokenizer."""

import dataclasses
from typing import Any, Literal, get_args

from mmrec_jax.data.formats.text_chunk import Cut
from mmrec_jax.data.quality.document_filter import DocumentFilter
from mmrec_jax.data.quality.duplicates import Dedup
from mmrec_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class PrepareSettings:
    """The options of `mmrec data prepare` of the same names, where they are described."""

    documents: Cut = "block"
    field: str = "text"
    max_record_mb: int = 64
    validation_fraction: float = 0.005
    shard_mb: float = 256
    dedup: Dedup = "none"
    language: Literal["", "tr"] = ""
    min_chars: int = 0
    max_chars: int = 0

    def __post_init__(self) -> None:
        for name in ("max_record_mb", "shard_mb"):
            _require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        _require(
            0 < self.validation_fraction < 1,
            "validation_fraction",
            self.validation_fraction,
            "in (0, 1)",
        )
        _require(self.dedup in get_args(Dedup), "dedup", self.dedup, "none, exact or minhash")
        _require(self.language in ("", "tr"), "language", self.language, "tr, or empty")
        _require(self.min_chars >= 0, "min_chars", self.min_chars, "at least 0")
        _require(
            self.max_chars == 0 or self.max_chars >= self.min_chars,
            "max_chars",
            self.max_chars,
            f"0, or at least --min-chars, {self.min_chars}",
        )

    @property
    def filter(self) -> DocumentFilter:
        """Which documents are kept."""
        return DocumentFilter(self.min_chars, self.max_chars, self.language)

    def record(self) -> dict[str, Any]:
        """Each name and its value, fit for JSON."""
        return dataclasses.asdict(self)


def flag(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-")


def _require(condition: bool, name: str, value: object, rule: str) -> None:
    if not condition:
        raise UserError(f"{flag(name)} is {value!r}; it must be {rule}")
