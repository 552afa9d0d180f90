"""How the files are dealt to tasks, and how a task reads its share."""

import dataclasses
import math
from collections.abc import Iterator, Sequence

from mmrec_jax.data.document import Document
from mmrec_jax.data.formats.compression import compression_of
from mmrec_jax.data.formats.source import Source, SourceFile
from mmrec_jax.errors import UserError

TASK_BYTES = 8 << 20  # of text to a task, about
MOST_TASKS = 512  # a later step opens a file of each at once
# Each task that shares a compressed file decompresses all of it, at ten times the speed at which
# text is tokenised.
_COMPRESSION, _COMPRESSED_SHARES = 4, 4


@dataclasses.dataclass(frozen=True)
class Share:
    """Part `index` of `count` of a file; its size in bytes of text is a guess."""

    file: SourceFile
    index: int
    count: int
    size: float


def deal_tasks(sources: Sequence[Source]) -> list[list[Share]]:
    """The shares of each task; they depend on the files alone, not on who runs the tasks."""
    files = {file.name: file for source in sources for file in source.files}.values()
    total = sum(map(_text_bytes, files))
    most = max(TASK_BYTES, total / MOST_TASKS)
    tasks: list[list[Share]] = [[]]
    filled = 0.0
    for file in files:
        count = max(1, math.ceil(_text_bytes(file) / most))
        if compression_of(file.name):
            count = min(count, _COMPRESSED_SHARES)
        size = _text_bytes(file) / count
        for index in range(count):
            if tasks[-1] and filled + size > most:
                tasks.append([])
                filled = 0.0
            tasks[-1].append(Share(file, index, count, size))
            filled += size
    return tasks


def read_share(share: Share) -> Iterator[Document | UserError]:
    """The documents of a share, and an error in the place of each that cannot be read."""
    refused: list[UserError] = []
    for chunk in share.file.chunks(share.index, share.count):
        yield from chunk.documents(refused.append)
        yield from refused
        refused.clear()


def _text_bytes(file: SourceFile) -> int:
    return file.size * (_COMPRESSION if compression_of(file.name) else 1)
