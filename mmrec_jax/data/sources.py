"""The front door to text: from a `DataConfig` to the documents of a split."""

from mmrec_jax.config import DataConfig
from mmrec_jax.data.document import Document
from mmrec_jax.data.files import Cut, find_files, is_json_lines, json_documents, text_documents
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
    json_lines = config.source == "jsonl"
    if config.validation:
        name = "train" if split == "train" else "validation"
        pattern, option = getattr(config, name), f"config.data.{name}"
        return _read(pattern, option, config.documents, config.field, json_lines)
    documents = _read(config.train, "config.data.train", config.documents, config.field, json_lines)
    train, validation = hold_out(documents, config.validation_fraction)
    return train if split == "train" else validation


def read_documents(
    pattern: str, documents: Cut = "block", field: str = "text", option: str = "--data"
) -> list[Document]:
    """All documents of some files, each file read as its suffix says (`files.is_json_lines`).

    Args:
      pattern: comma-separated paths or globs.
      documents: how a text file is cut: see `DataConfig.documents`.
      field: the field of a JSON line that holds the text.
      option: what to call `pattern` in an error message.

    Raises:
      UserError: as `load_documents`.
    """
    return _read(pattern, option, documents, field, None)


def _read(
    pattern: str, option: str, cut: Cut, field: str, json_lines: bool | None
) -> list[Document]:
    documents: list[Document] = []
    for path in find_files(pattern, option):
        if is_json_lines(path) if json_lines is None else json_lines:
            documents += json_documents(path, field)
        else:
            documents += text_documents(path, cut)
    if not documents:
        raise UserError(f"{option}: the corpus is empty: there is no text in {pattern}")
    return documents
