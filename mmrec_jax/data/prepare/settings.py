"""What decides the bytes of prepared text, beside the text and the tokenizer."""

import dataclasses
from typing import Any, Literal, get_args

from mmrec_jax.errors import UserError

Cut = Literal["block", "line", "file"]
Dedup = Literal["none", "exact", "minhash"]
Quality = Literal["none", "repetition", "fineweb"]


@dataclasses.dataclass(frozen=True)
class PrepareSettings:
    """The options of `mmrec data prepare` of the same names, where they are described."""

    documents: Cut = "block"
    field: str = "text"
    max_record_mb: int = 64
    clean: bool = True
    min_chars: int = 0
    max_chars: int = 0
    max_broken: float = 0.01
    language: str = ""
    quality: Quality = "none"
    dedup: Dedup = "none"
    validation_fraction: float = 0.005

    def __post_init__(self) -> None:
        longest = f"0, or at least --min-chars, {self.min_chars}"
        for holds, name, rule in (
            (self.max_record_mb > 0, "max_record_mb", "above 0"),
            (self.min_chars >= 0, "min_chars", "at least 0"),
            (not 0 < self.max_chars < self.min_chars and self.max_chars >= 0, "max_chars", longest),
            (0 <= self.max_broken <= 1, "max_broken", "in [0, 1]"),
            (self.quality in get_args(Quality), "quality", ", ".join(get_args(Quality))),
            (self.dedup in get_args(Dedup), "dedup", ", ".join(get_args(Dedup))),
            (0 <= self.validation_fraction < 1, "validation_fraction", "in [0, 1)"),
        ):
            if not holds:
                value = getattr(self, name)
                raise UserError(f"{flag(name)} is {value!r}; it must be {rule}")

    def record(self) -> dict[str, Any]:
        """Each name and its value, fit for JSON."""
        return dataclasses.asdict(self)


def flag(name: str) -> str:
    """The option of a field."""
    return "--no-clean" if name == "clean" else "--" + name.replace("_", "-")
