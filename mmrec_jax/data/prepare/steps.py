"""The steps of the pipeline that makes tokens of text: read, select, write."""

import array
import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from numpy.typing import NDArray

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.data.files.reading import Reading
from mmrec_jax.data.long_text import encode_long
from mmrec_jax.data.prepare.cleaning import broken_characters, clean
from mmrec_jax.data.prepare.document_filter import DocumentFilter
from mmrec_jax.data.prepare.manifest import SHARE_UNIT
from mmrec_jax.data.prepare.settings import PrepareSettings
from mmrec_jax.data.prepare.tasks import Share, read_share
from mmrec_jax.data.split import text_share
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.cache import load_tokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer

# Of each document in a part's table: tokens (begin and end included), UTF-8 bytes, characters,
# `text_share` times SHARE_UNIT, the key of its copies, bytes that the tokens do not spell.
COLUMNS = 6

_EXAMPLES, _EXAMPLE_CHARACTERS = 3, 200  # that a task keeps of each reason to leave out


class ReadDocuments(PipelineStep):
    """The documents of a task's shares; one that cannot be read has no text, but an error."""

    type = "READER"
    name = "read"

    def __init__(self, tasks: list[list[Share]], reading: Reading) -> None:
        super().__init__()
        self.tasks, self.reading = tasks, reading

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """See `PipelineStep.run`."""
        for share in self.tasks[rank]:
            for name, found in read_share(share, self.reading):
                if isinstance(found, UserError):
                    yield Document("", name, metadata={"error": str(found)})
                else:
                    yield Document(found.text, name, metadata={"composed": found.composed})


class SelectDocuments(PipelineStep):
    """Cleans, filters and tokenises; `metadata["tokens"]` are int32, begin and end included."""

    type = "FILTER"
    name = "select and tokenise"

    def __init__(
        self, settings: PrepareSettings, tokenizer: tuple[Path, str], stop: bool, tallies: Path
    ) -> None:
        """`tokenizer`: its folder, fingerprint; `stop`: a record that cannot be read ends a task.

        Into `tallies` comes a JSON file of each task: "counts" of documents and characters,
        "languages", "examples" of what was left out by the reason.
        """
        super().__init__()
        self.settings, self.tokenizer, self.stop, self.tallies = settings, tokenizer, stop, tallies

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """See `PipelineStep.run`.

        Raises:
          UserError: a record cannot be read or tokenised, and `stop` is set.
        """
        settings, tokenizer = self.settings, _load_tokenizer(*self.tokenizer)
        keep = DocumentFilter(settings)
        counts: Counter[str] = Counter()
        examples: dict[str, list[str]] = {}
        ends = np.array([[tokenizer.bos_id], [tokenizer.eos_id]], np.int32)
        for document in data:
            counts["read"] += 1
            error = document.metadata.get("error")
            if error is None:
                counts["composed"] += document.metadata["composed"]
                if settings.clean:
                    document.text, cleaned = clean(document.text)
                    counts += cleaned
                broken = broken_characters(document.text, settings.language)
                counts["broken_characters"] += broken
                reason = keep.refuse(document.text, broken)
                if reason is None:
                    try:
                        tokens = encode_long(tokenizer, document.text.encode("utf-8"))
                    except UserError as refusal:
                        error = f"{document.id}: {refusal}"
            if error is not None:
                if self.stop:
                    raise UserError(error)
                reason = "refused"
            if reason is None:
                document.metadata["tokens"] = np.concatenate([ends[0], tokens, ends[1]])
                unspelled = tokenizer.unspelled_bytes(document.text, tokens)
                document.metadata["unspelled"] = unspelled
                yield document
                continue
            counts[reason] += 1
            listed = examples.setdefault(reason, [])
            if len(listed) < _EXAMPLES:
                listed.append(error or f"{document.id}: {document.text[:_EXAMPLE_CHARACTERS]}")
        record = {"counts": counts, "languages": keep.languages, "examples": examples}
        text = json.dumps(record, ensure_ascii=False)
        data = text.encode("utf-8", "surrogateescape")
        replace_file(self.tallies / f"{rank:06d}.json", data)


@functools.lru_cache(1)
def _load_tokenizer(folder: Path, fingerprint: str) -> Tokenizer:
    """The tokenizer of a folder; a process that does many tasks loads it once."""
    del fingerprint  # another one in the same folder is another one
    return load_tokenizer(folder)


class WriteTokens(PipelineStep):
    """Writes a task's documents, end to end, and a table of them; passes them on.

    `RANK.tokens` holds little-endian int32, `RANK.table` little-endian int64 [documents, COLUMNS].
    """

    type = "WRITER"
    name = "write tokens"

    def __init__(self, folder: Path, with_keys: bool) -> None:
        """`with_keys`: copies are to be looked for; without, the keys are 0."""
        super().__init__()
        self.folder, self.with_keys = folder, with_keys

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """See `PipelineStep.run`.

        Raises:
          OSError: the files cannot be written.
        """
        table = array.array("q")
        with open(self.folder / f"{rank:06d}.tokens", "wb") as stream:
            for document in data:
                tokens: NDArray[np.int32] = document.metadata["tokens"]
                stream.write(tokens.astype("<i4", copy=False).data)
                utf8 = document.text.encode("utf-8")
                share = int(text_share(document.text) * SHARE_UNIT)
                key = _key(document) if self.with_keys else 0
                sizes = len(tokens), len(utf8), len(document.text)
                table.extend((*sizes, share, key, document.metadata["unspelled"]))
                yield document
            stream.flush()
            os.fsync(stream.fileno())
        data = np.array(table, "<i8").tobytes()
        replace_file(self.folder / f"{rank:06d}.table", data)


def _key(document: Document) -> int:
    """What copies have in common, however much white space stands between their words."""
    plain = " ".join(document.text.split()).encode("utf-8")
    digest = hashlib.blake2b(plain, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
