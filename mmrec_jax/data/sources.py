"""The front door to text: from a `DataConfig` to the documents of a split."""

import sys

from mmrec_jax.config import DataConfig
from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.documents import all_documents
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.formats.source import find_sources
from mmrec_jax.data.formats.text_chunk import Cut
from mmrec_jax.data.manual import manual_documents
from mmrec_jax.data.split import Split, fixed_split, hold_out
from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.errors import UserError


def load_documents(config: DataConfig, split: Split) -> list[Document]:
    """The documents of one split, in an order that depends on the data alone.

    The built-in sources have three fixed splits (`split.fixed_split`). Of the user's own files,
    `config.train` is the train split and `config.validation` the validation split; without the
    latter a share of the former is held out (`split.hold_out`).

    Raises:
      UserError: a package or file is missing, a file is broken (named, with the place), the split
        has no text, or "test" is asked of the user's own files.
    """
    if config.source in ("treebank", "manual"):
        documents = treebank_documents() if config.source == "treebank" else manual_documents()
        return [document for document in documents if fixed_split(document.name) == split]
    if split == "test":
        raise UserError(
            f'config.data.source "{config.source}" has no test split; evaluate a file of its own '
            "with: mmrec eval loss --data FILE"
        )
    if config.validation:
        name = "train" if split == "train" else "validation"
        return _read_own(config, getattr(config, name), f"config.data.{name}")
    # Both splits are read from these files; what is wrong in them is told once.
    documents = _read_own(config, config.train, "config.data.train", listed=split == "train")
    train, validation = hold_out(documents, config.validation_fraction)
    return train if split == "train" else validation


def read_documents(
    pattern: str, documents: Cut = "block", field: str = "text", option: str = "--data"
) -> list[Document]:
    """All documents of some files, each file read as its suffix says (`formats.paths`).

    Args:
      pattern: comma-separated paths, globs, folders or names of data sets (`find_sources`).
      documents: how a text file is cut: see `DataConfig.documents`.
      field: the field of a record that holds the text.
      option: what to call `pattern` in an error message.

    Raises:
      UserError: as `load_documents`.
    """
    sources = find_sources(pattern, option, documents, field, sys.maxsize)
    return _require_text(all_documents(sources, Refusals("stop")), pattern, option)


def _read_own(
    config: DataConfig, pattern: str, option: str, *, listed: bool = True
) -> list[Document]:
    """The documents of the user's own files; `listed`: what was skipped is told."""
    sources = find_sources(
        pattern,
        option,
        config.documents,
        config.field,
        config.max_record_mb * 2**20,
        kind="json" if config.source == "jsonl" else "text",
        tfds_dir=config.tfds_dir,
    )
    refusals = Refusals(config.on_error)
    documents = all_documents(sources, refusals)
    if listed:
        refusals.show()
    return _require_text(documents, pattern, option)


def _require_text(documents: list[Document], pattern: str, option: str) -> list[Document]:
    if not documents:
        raise UserError(f"{option}: the corpus is empty: there is no text in {pattern}")
    return documents
