"""Prepared text as the data of a run."""

from pathlib import Path

from mmrec_jax.config import Config
from mmrec_jax.data.document import Document
from mmrec_jax.data.prepared.manifest import TOKENIZER, Manifest, read_manifest
from mmrec_jax.data.prepared.prepared_store import PreparedStore
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.cache import load_tokenizer, read_tokenizer_file
from mmrec_jax.tokenizers.tokenizer import Tokenizer

_OPTION = "config.data.train"


def open_prepared(config: Config, tokenizer: Tokenizer | None = None) -> TextDataset:
    """The folders that `config.data.train` names, separated by commas, as one data set.

    The tokenizer is the one that the text was prepared with.

    Args:
      config: `data`, `train.carry_state` and, where its kind is "file", `tokenizer` are used.
      tokenizer: that of the model that the run begins with, which must be the same one.

    Raises:
      UserError: a folder is not what `mmrec data prepare` wrote, a file of it is missing or
        damaged, or its tokenizer is not that of its manifest, of another folder or of the model.
    """
    folders = [Path(part.strip()).expanduser() for part in config.data.train.split(",")]
    opened = [(folder, read_manifest(folder, _OPTION)) for folder in folders]
    own = [_own_tokenizer(folder, manifest) for folder, manifest in opened]
    for folder, other in zip(folders[1:], own[1:], strict=True):
        _require_same(
            other, own[0], f"{folder} was prepared with another tokenizer than {folders[0]}"
        )
    if tokenizer is not None:
        _require_same(
            tokenizer,
            own[0],
            f"{folders[0]} was prepared with another tokenizer than that of {config.init_from}",
        )
    elif config.tokenizer.kind == "file":
        path = Path(config.tokenizer.path)
        given = read_tokenizer_file(path, "config.tokenizer.path")
        _require_same(
            given,
            own[0],
            f"{folders[0]} was prepared with another tokenizer than {path} (config.tokenizer.path)",
        )
    return TextDataset(
        config.data,
        own[0],
        tuple(PreparedStore.open([each], "train") for each in opened),
        PreparedStore.open(opened, "validation"),
        config.train.carry_state,
    )


def validation_documents(config: Config) -> list[Document]:
    """The texts of the validation split, from their tokens.

    Raises:
      UserError: as `open_prepared`.
    """
    data = open_prepared(config)
    store = data.validation
    assert store is not None
    ends = zip(store.offsets[:-1].tolist(), store.offsets[1:].tolist(), strict=True)
    return [
        Document(
            f"{config.data.train}, validation document {number}",
            data.tokenizer.decode(store.tokens[start + 1 : stop - 1]),
        )
        for number, (start, stop) in enumerate(ends, 1)
    ]


def _own_tokenizer(folder: Path, manifest: Manifest) -> Tokenizer:
    tokenizer = load_tokenizer(folder / TOKENIZER)
    if tokenizer.fingerprint != manifest.tokenizer:
        raise UserError(
            f"{folder / TOKENIZER}: this is not the tokenizer that the text was prepared with "
            f"({tokenizer.fingerprint[:16]}, not {manifest.tokenizer[:16]})"
        )
    return tokenizer


def _require_same(one: Tokenizer, other: Tokenizer, message: str) -> None:
    if one.fingerprint != other.fingerprint:
        raise UserError(
            f"{_OPTION}: {message} ({other.fingerprint[:16]}, not {one.fingerprint[:16]})"
        )
