"""The text that a run is probed with: the files of `--data`, or its own validation split."""

import argparse

from mmrec_jax.config import Config
from mmrec_jax.data.document import Document
from mmrec_jax.data.sources import read_documents


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
    name = f"the run's validation split ({config.data.source})"
    return name, config.data.validation_documents(config)
