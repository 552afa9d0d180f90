"""How the files are dealt to tasks, and how a task reads its share."""

import dataclasses
import hashlib
import itertools
import math
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmrec_jax.data.document import Document
from mmrec_jax.data.files.compression import bare_name, is_compressed
from mmrec_jax.data.files.hub import TfdsSplit
from mmrec_jax.data.files.paths import file_kind
from mmrec_jax.data.files.reading import Reading, Source
from mmrec_jax.errors import UserError

TASK_BYTES = 8 << 20  # of text to a task, about
MOST_TASKS = 512  # a later step opens a file of each at once
_COMPRESSION = 4  # bytes of text in one of a compressed file, about
_READERS = 4  # that share a file which has to be read from its beginning
_BLANK_LINE = re.compile(rb"\n[ \t\f\v]*\r?\n")


@dataclasses.dataclass(frozen=True)
class Share:
    """Part `index` of `count` of a file; `cut` is what it may be cut at, None: nothing."""

    file: Path | TfdsSplit
    index: int
    count: int
    cut: re.Pattern[bytes] | None


def identity(source: Source) -> str:
    """sha256 of the files' names, without their folders, and sizes, in hexadecimal digits."""
    listed = [
        f"{file.name}\0{file.stat().st_size}" if isinstance(file, Path) else str(file)
        for file in source.files
    ]
    return hashlib.sha256("\n".join(listed).encode("utf-8", "surrogateescape")).hexdigest()


def deal_tasks(sources: Sequence[Source], reading: Reading) -> list[list[Share]]:
    """The shares of each task; they depend on the files alone, not on who runs the tasks."""
    sizes = {file: _text_bytes(file) for source in sources for file in source.files}
    most = max(TASK_BYTES, sum(sizes.values()) / MOST_TASKS)
    tasks: list[list[Share]] = [[]]
    filled = 0.0
    for file, size in sizes.items():
        cut = _cut(file, reading)
        count = max(1, math.ceil(size / most))
        count = count if cut else min(count, _READERS)
        for index in range(count):
            if tasks[-1] and filled + size / count > most:
                tasks.append([])
                filled = 0.0
            tasks[-1].append(Share(file, index, count, cut))
            filled += size / count
    return tasks


def read_share(share: Share, reading: Reading) -> Iterator[Document | UserError]:
    """The documents of a share, and an error in the place of each that cannot be read."""
    refused: list[UserError] = []
    if not (share.cut and share.count > 1 and isinstance(share.file, Path)):
        documents = Source("", (share.file,)).documents(reading, refused.append)
        for document in itertools.islice(documents, share.index, None, share.count):
            yield document
        # What is wrong each reader sees; the first one tells.
        yield from refused if not share.index else ()
        return
    with tempfile.TemporaryDirectory() as folder, share.file.open("rb") as stream:
        size = share.file.stat().st_size
        begin, end = (
            _border(stream, size * index // share.count, share.cut)
            for index in (share.index, share.index + 1)
        )
        copy = Path(folder, share.file.name)
        stream.seek(begin)
        with copy.open("wb") as out:
            out.write(stream.read(max(0, end - begin)))
        for document in Source("", (copy,)).documents(reading, refused.append):
            name = document.name.replace(str(copy), f"{share.file} from byte {begin:,} on")
            yield dataclasses.replace(document, name=name)
        if refused:
            stream.seek(0)
            before = sum(stream.read(1 << 20).count(b"\n") for _ in range(0, begin, 1 << 20))
        for error in refused:
            yield UserError(
                re.sub(
                    rf"{re.escape(str(copy))}(?::(\d+))?",
                    lambda match: f"{share.file}:{before + int(match[1] or 1)}",
                    str(error),
                )
            )
