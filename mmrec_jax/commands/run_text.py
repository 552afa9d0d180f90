"""The text that a run is probed with: the files of `--data`, or its own validation split."""

import argparse

from mmrec_jax.config import Config
from mmrec_jax.data.document import Document
from mmrec_jax.data.instructions.conversation_sources import INSTRUCTION_SOURCES
from mmrec_jax.data.prepared.prepared_dataset import validation_documents
from mmrec_jax.data.sources import load_documents, read_documents
from mmrec_jax.data.stream.stream_text import StreamText
from mmrec_jax.errors import UserError


def run_text(options: argparse.Namespace, config: Config) -> tuple[str, list[Document]]:
    """What to call the text, and its documents.

    Args:
      options: those of `add_text_options`.
      config: the run's, whose data is read again where there is no `--data`.

    Raises:
      UserError: a file is missing or broken, or there is neither --data nor text of the run's own.
    """
    if options.data is not None:
        return options.data, read_documents(options.data, options.documents, options.field)
    if config.data.source in INSTRUCTION_SOURCES:
        raise UserError(
            f"{options.workdir} was trained on conversations: give some text with --data=FILE"
        )
    name = f"the run's validation split ({config.data.source})"
    if config.data.source == "stream":
        return name, StreamText.open(config.data, 0).validation
    if config.data.source == "prepared":
        return name, validation_documents(config)
    return name, load_documents(config.data, "validation")
