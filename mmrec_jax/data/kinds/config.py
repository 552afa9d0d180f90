"""What the config of every kind of data has."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from mmrec_jax.errors import UserError
from mmrec_jax.settings import SEED, Settings, at_least, setting

if TYPE_CHECKING:
    from mmrec_jax.config import Config
    from mmrec_jax.data.dataset import Dataset
    from mmrec_jax.data.document import Document
    from mmrec_jax.tokenizers.tokenizer import Tokenizer

# How a model of the data is asked for text: by what the text begins with, by a message to respond
# to, or not at all.
PromptStyle = Literal["text", "chat", "none"]


@dataclasses.dataclass(frozen=True)
class DataConfig(Settings):
    """Base of all kinds of data; a subclass names its source and opens it.

    Attributes:
      source: the kind's name.
      evaluators: names of what measures a model on this data: "loss", "task".
      prompt_style: how a model of this data is asked for text.
    """

    group: ClassVar[str] = "data"
    tag: ClassVar[str] = "source"
    source: ClassVar[str]
    evaluators: ClassVar[tuple[str, ...]] = ("loss",)
    prompt_style: ClassVar[PromptStyle] = "text"

    seq_len: int = setting(256, "T, tokens in a row", at_least(1))
    seed: int = setting(0, "of the shuffle, or of a task's training examples", SEED)

    @property
    def files(self) -> dict[str, str]:
        """The user's own files: patterns by the fields that have them."""
        return {}

    def check(self, config: "Config") -> None:
        """Refuses what the other groups have that does not suit this data.

        Raises:
          UserError: names the field.
        """
        turkish = config.turkish
        if self.prompt_style == "text":
            some = not turkish.scored_samples or config.train.sample_tokens > 0
            expected = "0 where config.train.sample_tokens is 0: there is no text to score"
            turkish.require(some, "scored_samples", expected)
            return
        for name, off in (("suffix_weight", 1.0), ("scored_samples", 0)):
            expected = f'{off} with config.data.source "{self.source}": it is for running text'
            turkish.require(getattr(turkish, name) == off, name, expected)

    def open(
        self, config: "Config", cache: Path, tokenizer: "Tokenizer | None" = None
    ) -> "Dataset":
        """The data of the run `config`, and its tokenizer.

        That is `tokenizer`, of the model which the run begins with; None: as `config.tokenizer`
        says. Trained ones are kept in `cache`.

        Raises:
          UserError: the data, the tokenizer or a field for them is wrong.
        """
        raise NotImplementedError

    def validation_documents(self, config: "Config") -> "list[Document]":
        """The texts of the validation split.

        Raises:
          UserError: they are no running text, or cannot be read.
        """
        del config
        raise UserError(
            f'the run was trained on config.data.source "{self.source}", which has no running '
            "text: give some with --data=FILE"
        )
