"""The documents of the user's own files."""

import sys
from typing import Literal

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.documents import all_documents
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.formats.source import find_sources
from mmrec_jax.data.formats.text_chunk import Cut
from mmrec_jax.data.kinds.text import RecordsConfig
from mmrec_jax.data.split import Split, hold_out
from mmrec_jax.errors import UserError


def load_files(
    config: RecordsConfig, split: Split, kind: Literal["text", "json"], documents: Cut = "block"
) -> list[Document]:
    """The documents of one split of the user's own files.

    `config.train` is the train split and `config.validation` the validation split; without the
    latter a share of the former is held out (`split.hold_out`).

    Args:
      config: where they are.
      split: "train" or "validation".
      kind: what the files are, where their suffix does not say it.
      documents: how a text file is cut.

    Raises:
      UserError: a package or file is missing, a file is broken (named, with the line), the split
        has no text, or "test" is asked for.
    """
    if split == "test":
        raise UserError(
            f'config.data.source "{config.source}" has no test split; evaluate a file of its own '
            "with: mmrec eval loss --data FILE"
        )

    def read(name: str, *, listed: bool = True) -> list[Document]:
        """`listed`: what was skipped is told."""
        pattern, option = getattr(config, name), f"config.data.{name}"
        largest = config.max_record_mb * 2**20
        sources = find_sources(
            pattern, option, documents, config.field, largest, kind=kind, tfds_dir=config.tfds_dir
        )
        refusals = Refusals(config.on_error)
        found = all_documents(sources, refusals)
        if listed:
            refusals.show()
        return _require_text(found, pattern, option)

    if config.validation:
        return read(split)
    # Both splits are read from these files; what is wrong in them is told once.
    train, validation = hold_out(read("train", listed=split == "train"), config.validation_fraction)
    return train if split == "train" else validation


def read_documents(
    pattern: str, documents: Cut = "block", field: str = "text", option: str = "--data"
) -> list[Document]:
    """All documents of some files, each file read as its suffix says (`formats.paths`).

    Args:
      pattern: comma-separated paths, globs, folders or names of data sets (`find_sources`).
      documents: how a text file is cut: see `TextFilesConfig.documents`.
      field: the field of a record that holds the text.
      option: what to call `pattern` in an error message.

    Raises:
      UserError: as `load_files`.
    """
    sources = find_sources(pattern, option, documents, field, sys.maxsize)
    return _require_text(all_documents(sources, Refusals("stop")), pattern, option)


def _require_text(documents: list[Document], pattern: str, option: str) -> list[Document]:
    if not documents:
        raise UserError(f"{option}: the corpus is empty: there is no text in {pattern}")
    return documents
