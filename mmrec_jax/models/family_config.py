"""The config that every model family has."""

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar, Self

from mmrec_jax.settings import Settings, at_least, setting

if TYPE_CHECKING:
    from mmrec_jax.models.api import LanguageModel


@dataclasses.dataclass(frozen=True)
class FamilyConfig(Settings):
    """Base of the families' configs; a subclass names its family and builds its model."""

    group: ClassVar[str] = "model"
    tag: ClassVar[str] = "family"
    family: ClassVar[str]
    # Fields that trade time for memory, and the value that takes least; None: the lower the less.
    memory_fields: ClassVar[tuple[tuple[str, Any], ...]] = ()

    vocab_size: int = setting(
        5000, "upper bound; the tokenizer's size when that is smaller", at_least(1)
    )

    def build(self) -> "LanguageModel":
        """The model."""
        raise NotImplementedError

    def fitted(self, rows: int, platform: str) -> Self:
        """With what the run leaves open set for `rows` of a microbatch on each device."""
        return self

    def row_block(self, length: int) -> int | None:
        """How many tokens of a row of `length` the model reads at once, carrying its state on.

        None: it cannot read a row that several devices share (`models/sequence.py`).
        """
        return None

    def resolved(self) -> dict[str, Any]:
        """Fields that may be left to be derived, and the values that they come to."""
        return {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExtendableConfig(FamilyConfig):
    """Of a family whose vocabulary may get more rows, of tokens that its base did not have."""

    new_rows: int = setting(
        0, "rows of vocabulary that are tables of their own, behind the others", at_least(0)
    )
    padding_rows: int = setting(
        0, "the last rows that are of no token and never have probability", at_least(0)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        few = self.new_rows < self.vocab_size
        self.require(few, "new_rows", f"less than model.vocab_size = {self.vocab_size}")

    @property
    def old_rows(self) -> int:
        """Rows of the vocabulary that are no `new_rows`."""
        return self.vocab_size - self.new_rows
