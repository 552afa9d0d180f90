"""Text that is larger than memory: prepared once, into the user's cache, and mapped from there."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mmrec_jax.config import Config
from mmrec_jax.data.document import Document
from mmrec_jax.data.files.paths import cache_folder
from mmrec_jax.data.files.reading import Source
from mmrec_jax.data.files.refusals import Refusals
from mmrec_jax.data.prepare.manifest import SHARE_UNIT, SHARES, Manifest
from mmrec_jax.data.prepare.reading import joined, open_split
from mmrec_jax.data.prepare.settings import PrepareSettings
from mmrec_jax.data.prepare.tasks import deal_tasks, read_share
from mmrec_jax.data.sources import RunText, tell, tell_overlap
from mmrec_jax.data.split import text_share
from mmrec_jax.data.text_dataset import TextDataset
from mmrec_jax.data.token_store import TokenStore
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.cache import build_tokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer

_VALIDATION_SHARE = 16  # validation text takes about this part of config.data.memory_mb at most
_TOKENIZER_BYTES, _TOKENIZER_PLACES = 1 << 25, 16  # that a tokenizer is trained on


def open_large(
    config: Config, text: RunText, cache: Path, tokenizer: Tokenizer | None
) -> TextDataset:
    """The tokens of a run's text, which is tokenised where the cache does not have it.

    A tokenizer is trained on a sample of it. With weights each source has a folder of its
    own. What was skipped is told on standard error.

    Raises:
      UserError: the extra is not installed, a file is broken, the disk is full, or of a folder no
        text is left to train on.
    """
    data, share = config.data, _held_share(config, text)
    tokenizer = tokenizer or build_tokenizer(config, _sample(text, share), cache)
    settings = PrepareSettings(
        documents=data.documents,
        field=data.field,
        max_record_mb=data.max_record_mb,
        clean=False,
        max_broken=1.0,
        validation_fraction=share,
    )
    groups = [[source] for source in text.sources] if data.weights else [text.sources]
    train, held = list[TokenStore](), list[TokenStore]()
    given = [int(text_share(each.text) * SHARE_UNIT) for each in text.validation or ()]
    repeated = np.zeros(len(given), np.bool_)
    for sources in groups:
        folder, manifest = _prepared(sources, tokenizer, settings, data.on_error)
        store = open_split(folder, manifest, "train")
        train.append(dataclasses.replace(store, name=sources[0].name))
        held.append(open_split(folder, manifest, "validation"))
        repeated |= np.isin(given, np.fromfile(folder / "train" / SHARES, "<i8"))
    tell_overlap(int(repeated.sum()))
    own = TokenStore.from_documents(text.validation, tokenizer) if text.validation else joined(held)
    return TextDataset(data, tokenizer, tuple(train), own, config.train.carry_state)


def held_out_documents(config: Config, text: RunText) -> list[Document]:
    """The documents of the training text that `open_large` holds out, by reading the text again."""
    share, refusals = _held_share(config, text), Refusals(config.data.on_error)
    return [
        document
        for source in text.sources
        for document in source.documents(text.reading, refusals)
        if text_share(document.text) < share
    ]


def _held_share(config: Config, text: RunText) -> float:
    """The share of the documents that is held out: validation text is held in memory."""
    data = config.data
    if text.validation is not None:
        return 0.0
    size = sum(source.size for source in text.sources)
    share = min(data.validation_fraction, (data.memory_mb << 20) / _VALIDATION_SHARE / max(1, size))
    if share < data.validation_fraction:
        tell(
            f"a share of {share:.2g} of the documents is held out, and not "
            f"config.data.validation_fraction = {data.validation_fraction}: validation text is at "
            f"most a sixteenth of config.data.memory_mb"
        )
    return share


def _sample(text: RunText, held: float) -> Iterator[str]:
    """Training documents from places all over the text, of `_TOKENIZER_BYTES` at most."""
    shares = list(itertools.chain.from_iterable(deal_tasks(text.sources, text.reading)))
    chosen = shares[:: -(-len(shares) // _TOKENIZER_PLACES)]
    for share in chosen:
        size = 0
        for _, found in read_share(share, text.reading):
            if isinstance(found, str) and text_share(found) >= held:
                size += len(found.encode())
                if size > _TOKENIZER_BYTES // len(chosen):
                    break
                yield found


def _prepared(
    sources: Sequence[Source], tokenizer: Tokenizer, settings: PrepareSettings, on_error: str
) -> tuple[Path, Manifest]:
    """The folder in the cache that has the text of some files, as they are now, in tokens."""
    try:
        from mmrec_jax.data.prepare.executors import Resources
        from mmrec_jax.data.prepare.preparation import prepare_text
    except ModuleNotFoundError as error:
        raise UserError(
            f"config.data.train: text of more than config.data.memory_mb is prepared, which needs "
            f"{error.name}: pip install 'mmrec_jax[prepare]'"
        ) from None
    keys = [source.key for source in sources], settings, on_error, tokenizer.fingerprint
    folder = cache_folder("text") / hashlib.sha256(repr(keys).encode()).hexdigest()[:32]
    manifest = prepare_text(
        folder, sources, tokenizer, settings, Resources(), stop=on_error == "stop"
    )
    assert manifest is not None
    if count := manifest.counts.get("refused", 0):
        examples = "\n  ".join(manifest.examples["refused"])
        tell(f"skipped {count:,} records or files that could not be read, such as\n  {examples}")
    return folder, manifest
