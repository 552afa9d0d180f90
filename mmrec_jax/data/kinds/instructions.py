"""The kinds of data that are prompts and responses."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from mmrec_jax.data.kinds.config import PromptStyle
from mmrec_jax.data.kinds.text import FilesConfig, PackedConfig
from mmrec_jax.settings import Check, setting

if TYPE_CHECKING:
    from mmrec_jax.config import Config
    from mmrec_jax.data.dataset import Dataset
    from mmrec_jax.data.split import Split
    from mmrec_jax.tokenizers.conversation import Conversation
    from mmrec_jax.tokenizers.tokenizer import Tokenizer


class RecordFields(NamedTuple):
    """Which fields of a record are read."""

    prompt: str = ""  # empty: the record has one of the common shapes
    response: str = ""
    ignored: frozenset[str] = frozenset()  # in messages too

    def present(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that are there: those of null are not."""
        return {
            name: value
            for name, value in record.items()
            if value is not None and name not in self.ignored
        }


COMMON_SHAPES = RecordFields()


@dataclasses.dataclass(frozen=True)
class ConversationsConfig(PackedConfig):
    """What both kinds have."""

    prompt_style: ClassVar[PromptStyle] = "chat"

    template: str = setting(
        "auto",
        "plain (headers in words, works with every tokenizer), chatml (needs its two tokens) or a "
        "file of Jinja; auto: the one that came with the tokenizer, or else chatml where the "
        "tokenizer has the tokens, or else plain",
        Check(bool, "a name or a file"),
    )
    enable_thinking: bool = setting(
        False,
        "of a template that knows it: False begins responses as ones without thinking; it is "
        "stored with the model",
    )
    overlong: Literal["drop", "truncate", "error"] = setting(
        "drop",
        "an example of more than seq_len tokens: drop leaves it out, truncate cuts its prompts "
        "from the left, and leaves it out if that is not enough; error refuses the data",
    )

    @property
    def record_fields(self) -> RecordFields:
        """Which fields of the user's records are read."""
        return COMMON_SHAPES

    def load(self) -> "dict[Split, list[Conversation]]":
        """The conversations of "train" and "validation", in an order of the data alone.

        Raises:
          UserError: a package or file is missing, a line is broken (named), or a split is empty.
        """
        raise NotImplementedError

    def check(self, config: "Config") -> None:
        """See `DataConfig.check`."""
        super().check(config)
        train, here = config.train, f'with config.data.source "{self.source}"'
        train.require(not train.carry_state, "carry_state", f"False {here}: each example has a row")
        train.require(
            not train.sample_tokens or bool(train.sample_prompt.strip()),
            "sample_prompt",
            f"a message to respond to {here} (or set config.train.sample_tokens=0)",
        )

    def open(
        self, config: "Config", cache: Path, tokenizer: "Tokenizer | None" = None
    ) -> "Dataset":
        """See `DataConfig.open`."""
        from mmrec_jax.data.conversations.dataset import conversation_dataset, training_texts
        from mmrec_jax.tokenizers.cache import build_tokenizer

        conversations = self.load()
        tokenizer = tokenizer or build_tokenizer(
            config, training_texts(self, conversations["train"]), cache
        )
        return conversation_dataset(self, conversations, tokenizer)


@dataclasses.dataclass(frozen=True)
class InstructionsConfig(FilesConfig, ConversationsConfig):
    """Your files of records with prompts and responses."""

    source = "instructions"

    prompt_field: str = setting(
        "", "of a record; empty: it has a common shape (data/conversations/records.py)"
    )
    response_field: str = setting("", "the same")
    ignored_fields: str = setting(
        "", "comma-separated: of records and messages, left unread instead of refused"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        missing = "response_field" if self.prompt_field else "prompt_field"
        both = bool(self.prompt_field) == bool(self.response_field)
        expected = "the name of a field: name both the prompt's and the response's, or neither"
        self.require(both, missing, expected)

    @property
    def record_fields(self) -> RecordFields:
        """See the base."""
        ignored = frozenset(map(str.strip, self.ignored_fields.split(",")))
        return RecordFields(self.prompt_field, self.response_field, ignored)

    def load(self) -> "dict[Split, list[Conversation]]":
        """See the base."""
        from mmrec_jax.data.conversations.dataset import load_conversations

        return load_conversations(self)


@dataclasses.dataclass(frozen=True)
class TreebankInstructionsConfig(ConversationsConfig):
    """The built-in Turkish prompts and responses."""

    source = "treebank_instructions"

    def load(self) -> "dict[Split, list[Conversation]]":
        """See the base; split as the documents of the treebank are, whose model has seen them."""
        from mmrec_jax.data.conversations.treebank_pairs import treebank_pairs
        from mmrec_jax.data.split import fixed_split

        pairs = treebank_pairs()
        splits: tuple[Split, Split] = ("train", "validation")
        return {
            split: [pair for document, pair in pairs if fixed_split(document) == split]
            for split in splits
        }
