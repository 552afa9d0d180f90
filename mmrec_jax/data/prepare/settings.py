"""What decides the bytes of prepared text, beside the text and the tokenizer."""

import dataclasses
from typing import Literal

from mmrec_jax.data.files.text import Cut
from mmrec_jax.errors import UserError
from mmrec_jax.settings import Settings, at_least, setting, within


@dataclasses.dataclass(frozen=True)
class PrepareSettings(Settings):
    """The options of `mmrec data prepare` of the same names."""

    documents: Cut = setting("block", "of a text file")
    field: str = setting("text", "of a record (JSON, Parquet, ...) with the text")
    max_record_mb: int = setting(64, "a longer document or record is refused", at_least(1))
    clean: bool = setting(
        True, "keep control characters, soft hyphens and characters without width"
    )
    min_chars: int = setting(0, "leave out shorter documents", at_least(0))
    max_chars: int = setting(0, "leave out longer documents; 0: none", at_least(0))
    max_broken: float = setting(
        0.01,
        "leave out documents with a larger share of U+FFFD and of letters that were decoded "
        "wrongly; 1: none",
        within(0, 1),
    )
    language: str = setting(
        "", "keep documents in this language alone (tr, az, en, ...); any: count the languages"
    )
    quality: Literal["none", "repetition", "fineweb"] = setting(
        "none",
        "leave out texts that repeat themselves (rules of Gopher), or lists and fragments (rules "
        "of FineWeb)",
    )
    dedup: Literal["none", "exact", "minhash"] = setting(
        "none", "leave out copies (exact), and texts that share most of their words too (minhash)"
    )
    validation_fraction: float = setting(
        0.005, "of the documents is held out, by a hash of the text; 0: none", within(0, 1, "[)")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        longest = f"0, or at least --min-chars, {self.min_chars}"
        self.require(not 0 < self.max_chars < self.min_chars, "max_chars", longest)

    def require(self, condition: bool, name: str, expected: str) -> None:
        """Refuses the value of an option, with a `UserError`, unless the condition holds."""
        if not condition:
            raise UserError(f"{flag(name)} is {getattr(self, name)!r}; it must be {expected}")


def flag(name: str) -> str:
    """The option of a field."""
    return "--no-clean" if name == "clean" else "--" + name.replace("_", "-")
