"""All that some files hold, in memory."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.chunk import Chunk, Refuse
from mmrec_jax.data.formats.record_file import RecordFile
from mmrec_jax.data.formats.refusals import Refusals
from mmrec_jax.data.formats.source import Source, SourceFile, find_sources
from mmrec_jax.data.formats.text_chunk import Cut


def all_documents(sources: Iterable[Source], refuse: Refuse) -> list[Document]:
    """The documents of all sources in their order; a file that two of them name is read once."""
    return [each for chunk in _chunks(sources) for each in chunk.documents(refuse)]


def json_objects(
    pattern: str, option: str, refuse: Refuse, max_record_bytes: int = sys.maxsize
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The place ("file:line") and the object of each record of files of JSON.

    Args:
      pattern: as of `find_sources`.
      option: what to call `pattern` in an error message.
      refuse: see `Chunk.records`.
      max_record_bytes: a longer record is refused.

    Raises:
      UserError: there is no such file, or it holds something else.
    """
    sources = find_sources(pattern, option, "line", "", max_record_bytes, kind="json")
    for chunk in _chunks(sources):
        yield from chunk.records(refuse)


def text_documents(path: Path, cut: Cut) -> list[Document]:
    """The documents of one file of text, `.gz`, `.zst`, `.xz` or plain; see `TextChunk`.

    Raises:
      UserError: the file cannot be read, is damaged, or is not UTF-8.
    """
    file = RecordFile(path, 0, "", sys.maxsize, kind="text", cut=cut)
    return all_documents([Source(str(path), (file,))], Refusals("stop"))


def _chunks(sources: Iterable[Source]) -> Iterator[Chunk]:
    files: dict[str, SourceFile] = {}
    for source in sources:
        for file in source.files:
            files.setdefault(file.name, file)
    for file in files.values():
        yield from file.chunks()
