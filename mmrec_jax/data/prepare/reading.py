"""Prepared text as the data of a run."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from mmrec_jax.config import Config
from mmrec_jax.data.document import Document
from mmrec_jax.data.files.paths import in_home, split_pattern
from mmrec_jax.data.prepare.manifest import ARRAYS, TOKENIZER, Manifest, read_manifest
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.cache import load_tokenizer, read_tokenizer_file
from mmrec_jax.tokenizers.tokenizer import Tokenizer

_OPTION = "config.data.train"
_AGAIN = "copy or prepare it again"
_CHECKED_BYTES = 1 << 29  # of a file: in a second; a larger one is not read whole at the start


def open_prepared(config: Config, tokenizer: Tokenizer | None = None) -> TextDataset:
    """The folders that `config.data.train` names, separated by commas, each a source.

    The tokenizer is the one that the text was prepared with; that of the model that the run begins
    with, if any, or of `config.tokenizer`, where its kind is "file", must be the same one.

    Raises:
      UserError: a folder is not what `mmrec data prepare` wrote, a file of it is missing or
        damaged, or its tokenizer is not that of its manifest, of another folder or of the model.
    """
    folders = list(map(in_home, split_pattern(config.data.train, _OPTION)))
    opened = [(folder, read_manifest(folder, _OPTION)) for folder in folders]
    of = str(config.init_from)
    if tokenizer is None and config.tokenizer.kind == "file":
        of = config.tokenizer.path
        begin, end = config.tokenizer.begin, config.tokenizer.end
        tokenizer = read_tokenizer_file(Path(of), "config.tokenizer.path", begin, end)
    elif tokenizer is None:
        of = str(folders[0] / TOKENIZER)
        tokenizer = load_tokenizer(of)
    for folder, manifest in opened:
        if manifest.identity["tokenizer"] != tokenizer.fingerprint:
            raise UserError(
                f"{_OPTION}: {folder} was prepared with another tokenizer than {of} "
                f"({manifest.identity['tokenizer'][:16]}, not {tokenizer.fingerprint[:16]})"
            )
    train = tuple(open_split(*each, "train") for each in opened)
    held_out = joined([open_split(*each, "validation") for each in opened])
    return TextDataset(config.data, tokenizer, train, held_out, config.train.carry_state)


def prepared_validation(config: Config) -> list[Document]:
    """The texts of the validation split, from their tokens; raises as `open_prepared`."""
    data = open_prepared(config)
    store = data.validation
    if store is None:
        raise UserError(f"{_OPTION}: {config.data.train} was prepared without a validation split")
    ends = zip(store.offsets[:-1].tolist(), store.offsets[1:].tolist(), strict=True)
    return [
        Document(
            f"{config.data.train}, validation document {number}",
            data.tokenizer.decode(store.tokens[start + 1 : stop - 1]),
        )
        for number, (start, stop) in enumerate(ends, 1)
    ]


def open_split(folder: Path, manifest: Manifest, split: str) -> TokenStore:
    """A split of one folder, memory-mapped.

    Raises:
      UserError: a file is missing, is not of its size, or is damaged; of a file above 512 MiB only
        the size is looked at.
    """
    entry = manifest.splits[split]
    documents = entry["documents"]
    lengths = {"tokens": entry["tokens"], "offsets": documents + 1}
    arrays: dict[str, Any] = {}
    for name, dtype in ARRAYS.items():
        path, length = folder / split / name, lengths.get(name, documents)
        size = length * np.dtype(dtype).itemsize
        try:
            if path.stat().st_size != size:
                raise UserError(f"{path}: {path.stat().st_size:,} bytes, not {size:,}: {_AGAIN}")
            arrays[name] = np.memmap(path, dtype, "r") if size else np.zeros(0, dtype)
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}; {_AGAIN}") from None
        if size <= _CHECKED_BYTES:
            found = hashlib.sha256(arrays[name].data).hexdigest()
            if found != entry["sha256"][name]:
                raise UserError(f"{path}: this file is damaged: {_AGAIN}")
    known = " ".join(entry["sha256"][name] for name in ARRAYS)
    content_hash = hashlib.sha256(known.encode()).hexdigest()
    return TokenStore(
        **arrays,
        name=str(folder),
        unspelled_bytes=entry["unspelled_bytes"],
        content_hash=content_hash,
    )


def joined(stores: list[TokenStore]) -> TokenStore | None:
    """The documents of some stores as one, None: there are none; several are copied to memory."""
    stores = [store for store in stores if store.num_documents]
    if len(stores) < 2:
        return stores[0] if stores else None
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(store, name) for store in stores]) for name in ARRAYS
    }
    lengths = np.concatenate([np.diff(store.offsets) for store in stores])
    arrays["offsets"] = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return TokenStore(**arrays, unspelled_bytes=sum(store.unspelled_bytes for store in stores))
