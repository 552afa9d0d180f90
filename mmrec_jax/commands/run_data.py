"""What a trained run is evaluated on: files of `--data`, its own validation split, or its task."""

import argparse
import dataclasses
from pathlib import Path

from mmrec_jax.config import Config
from mmrec_jax.data.conversations.dataset import encode_examples, read_conversations
from mmrec_jax.data.dataset import Dataset
from mmrec_jax.data.document import Document
from mmrec_jax.data.files.paths import file_kind, split_pattern
from mmrec_jax.data.files.reading import Reading, read_documents, require_text
from mmrec_jax.data.tasks.task_dataset import TaskDataset
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.inference.chat import chat_encoder
from mmrec_jax.tokenizers.conversation import Conversation
from mmrec_jax.tokenizers.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class RunData:
    """What is evaluated; of text and conversations it is the validation split of `data`."""

    data: Dataset
    source: str  # what to call it
    description: str  # what it is and how much
    conversations: bool = False


def open_data(options: argparse.Namespace, config: Config, tokenizer: Tokenizer) -> RunData:
    """Reads and encodes what the options ask for.

    Raises:
      UserError: files are missing or broken, or the run has no text and `--data` gives none.
    """
    if on_task(config, options):
        task = TaskDataset(config.data)
        return RunData(task, config.data.source, task.describe())
    source = options.data or f"the run's validation split ({config.data.source})"
    conversations = _conversations(config, options.data)
    if conversations is not None:
        length, overlong = config.data.seq_len, config.data.overlong
        store, fit = encode_examples(conversations, chat_encoder(tokenizer), length, overlong)
        description = (
            f"{store.num_documents:,} examples, {store.num_bytes:,} bytes of responses; longer "
            f"than a row of {length:,}: {fit}"
        )
        data = TextDataset(config.data, tokenizer, (store,), store)
        return RunData(data, source, description, conversations=True)
    store = TokenStore.from_documents(_text(options, config), tokenizer)
    description = f"{store.num_documents:,} documents, {store.num_bytes:,} bytes"
    return RunData(TextDataset(config.data, tokenizer, (store,), store), source, description)


def on_task(config: Config, options: argparse.Namespace) -> bool:
    """Whether the run is evaluated on its task."""
    if "task" not in config.data.evaluators:
        return False
    if options.data is not None:
        raise UserError(
            f'--data: {options.workdir} was trained on the task "{config.data.source}" and knows '
            "no text; leave it out"
        )
    return True


def _conversations(config: Config, pattern: str | None) -> list[Conversation] | None:
    """Those of the files, or held out; None: the run or the files are of text."""
    if config.data.prompt_style != "chat":
        return None
    if pattern is None:
        held = config.data.load().get("validation")
        expected = "above 0 for a validation split; or give some conversations with --data=FILE"
        config.data.require(bool(held), "validation_fraction", expected)
        return held
    if all(file_kind(Path(part)) == "text" for part in split_pattern(pattern, "--data")):
        return None
    return read_conversations(pattern, config.data.record_fields)


def _text(options: argparse.Namespace, config: Config) -> list[Document]:
    """The documents of `--data`, or the run's validation split."""
    if options.data is None:
        return config.data.validation_documents(config)
    reading = Reading(options.documents, options.field)
    documents = list(read_documents(options.data, "--data", reading))
    return require_text(documents, options.data, "--data")
