"""The step that makes tokens of text: documents are read, cleaned, filtered and tokenised."""

import array
import functools
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.data.files.reading import Reading
from mmrec_jax.data.prepare.cleaning import broken_characters, clean
from mmrec_jax.data.prepare.document_filter import DocumentFilter
from mmrec_jax.data.prepare.manifest import SHARE_UNIT
from mmrec_jax.data.prepare.settings import PrepareSettings
from mmrec_jax.data.prepare.tasks import Share, read_share
from mmrec_jax.data.split import text_share
from mmrec_jax.data.token_store import encode_long
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.cache import load_tokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer

# Of each document in a part's table: tokens (begin and end included), UTF-8 bytes, characters,
# `text_share` times SHARE_UNIT, the key of its copies, bytes that the tokens do not spell.
COLUMNS = 6

_EXAMPLES, _EXAMPLE_CHARACTERS = 3, 200  # that a task keeps of each reason to leave out


class EncodeDocuments(PipelineStep):
    """Makes tokens of the documents of a task's shares, and passes on those that are kept.

    Into the folder `work` come of each task `parts/RANK.tokens`, little-endian int32 end to end;
    `parts/RANK.table`, little-endian int64 [documents, COLUMNS]; and `tallies/RANK.json` with
    "counts" of documents and characters, "languages", and "examples" of what was left out by the
    reason.
    """

    type = "READER"
    name = "read, select and tokenise"

    def __init__(
        self,
        tasks: list[list[Share]],
        reading: Reading,
        settings: PrepareSettings,
        tokenizer: tuple[Path, str],
        stop: bool,
        work: Path,
    ) -> None:
        """`tokenizer`: its folder, fingerprint; `stop`: what cannot be read ends a task."""
        super().__init__()
        self.tasks, self.reading, self.settings = tasks, reading, settings
        self.tokenizer, self.stop, self.work = tokenizer, stop, work

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """See `PipelineStep.run`.

        Raises:
          UserError: a record cannot be read or tokenised, and `stop` is set.
          OSError: the files cannot be written.
        """
        del data
        tokenizer, keep = _load_tokenizer(*self.tokenizer), DocumentFilter(self.settings)
        ends = np.array([[tokenizer.bos_id], [tokenizer.eos_id]], "<i4")
        counts: Counter[str] = Counter()
        examples: dict[str, list[str]] = {}
        table = array.array("q")
        with open(self.work / "parts" / f"{rank:06d}.tokens", "wb") as stream:
            shares = (read_share(share, self.reading) for share in self.tasks[rank])
            for name, found in itertools.chain.from_iterable(shares):
                counts["read"] += 1
                try:
                    text, reason = self._select(found, keep, counts)
                    example = f"{name}: {text[:_EXAMPLE_CHARACTERS]}"
                    if reason is None:
                        tokens = encode_long(tokenizer, text)
                except UserError as error:
                    reason, example = "refused", f"{name}: {error}" if name else str(error)
                    if self.stop:
                        raise UserError(example) from None
                if reason is not None:
                    counts[reason] += 1
                    listed = examples.setdefault(reason, [])
                    if len(listed) < _EXAMPLES:
                        listed.append(example)
                    continue
                stream.write(np.concatenate([ends[0], tokens, ends[1]], dtype="<i4").data)
                share = int(text_share(text) * SHARE_UNIT)
                key = _key(text) if self.settings.dedup == "exact" else 0
                unspelled = tokenizer.unspelled_bytes(text, tokens)
                size = len(text.encode())
                table.extend((len(tokens) + 2, size, len(text), share, key, unspelled))
                yield Document(text, name)
            stream.flush()
            os.fsync(stream.fileno())
        record = {"counts": counts, "languages": keep.languages, "examples": examples}
        tally = json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogateescape")
        replace_file(self.work / "tallies" / f"{rank:06d}.json", tally)
        replace_file(self.work / "parts" / f"{rank:06d}.table", np.array(table, "<i8").tobytes())

    def _select(
        self, found: str | UserError, keep: DocumentFilter, counts: Counter[str]
    ) -> tuple[str, str | None]:
        """A text as it is kept, and why it is left out, if it is."""
        if isinstance(found, UserError):
            raise found
        if self.settings.clean:
            found, cleaned = clean(found)
            counts += cleaned
        broken = broken_characters(found, self.settings.language)
        counts["broken_characters"] += broken
        return found, keep.refuse(found, broken)


@functools.lru_cache(1)
def _load_tokenizer(folder: Path, fingerprint: str) -> Tokenizer:
    """The tokenizer of a folder; a process that does many tasks loads it once."""
    del fingerprint  # another one in the same folder is another one
    return load_tokenizer(folder)


def _key(text: str) -> int:
    """What copies have in common, however much white space stands between their words."""
    plain = " ".join(text.split()).encode("utf-8")
    digest = hashlib.blake2b(plain, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
