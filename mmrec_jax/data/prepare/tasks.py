"""How the files are dealt to tasks, and how a task reads its share."""

import dataclasses
import itertools
import math
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

from mmrec_jax.data.files.compression import is_compressed
from mmrec_jax.data.files.hub import TfdsSplit
from mmrec_jax.data.files.paths import file_kind
from mmrec_jax.data.files.reading import Reading, Source, text_bytes
from mmrec_jax.errors import UserError

TASK_BYTES = 8 << 20  # of text to a task, about
MOST_TASKS = 512  # a later step opens a file of each at once
_READERS = 4  # at most share a file that each has to read from its beginning
_READ = 1 << 20


@dataclasses.dataclass(frozen=True)
class Share:
    """Part `index` of `count` of a file."""

    file: Path | TfdsSplit
    index: int
    count: int
    # What parts can be cut at, so that each reads its bytes alone; None: each reads the whole file
    # and takes every `count`-th document
    border: Literal["line", "blank line"] | None


def deal_tasks(sources: Sequence[Source], reading: Reading) -> list[list[Share]]:
    """The shares of each task; they depend on the files alone, not on who runs the tasks."""
    sizes = {file: text_bytes(file) for source in sources for file in source.files}
    most = max(TASK_BYTES, sum(sizes.values()) / MOST_TASKS)
    tasks: list[list[Share]] = [[]]
    filled = 0.0
    for file, size in sizes.items():
        border = _border(file, reading)
        count = max(1, math.ceil(size / most))
        count = count if border else min(count, _READERS)
        for index in range(count):
            if tasks[-1] and filled + size / count > most:
                tasks.append([])
                filled = 0.0
            tasks[-1].append(Share(file, index, count, border))
            filled += size / count
    return tasks


def read_share(share: Share, reading: Reading) -> Iterator[tuple[str, str | UserError]]:
    """(location, text) of each document of a share, then ("", error) for what is unreadable."""
    errors: list[UserError] = []
    file = share.file
    if not isinstance(file, Path) or not share.border or share.count == 1:
        documents = Source("", (file,)).documents(reading, errors.append)
        for document in itertools.islice(documents, share.index, None, share.count):
            yield document.name, document.text
        # All readers of the file see what is wrong in it; the first one tells.
        yield from () if share.index else (("", error) for error in errors)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, file.name)
        begin = _copy_share(share, file, copy)
        for document in Source("", (copy,)).documents(reading, errors.append):
            name = document.name.replace(str(copy), f"{file}, from byte {begin:,} on")
            yield name, document.text
        location = re.compile(rf"{re.escape(str(copy))}(?::(\d+))?")
        before = _count_lines(file, begin) if errors else 0
        for error in errors:
            message = location.sub(lambda at: f"{file}:{before + int(at[1] or 1)}", str(error))
            yield "", UserError(message)


def _border(file: Path | TfdsSplit, reading: Reading) -> Literal["line", "blank line"] | None:
    if isinstance(file, TfdsSplit) or is_compressed(file):
        return None
    kind = file_kind(file)
    if kind == "json_lines" or (kind == "text" and reading.documents == "line"):
        return "line"
    return "blank line" if kind == "text" and reading.documents == "block" else None


def _copy_share(share: Share, file: Path, copy: Path) -> int:
    """Writes the share's bytes into a file of their own; the offset of the first one."""
    size = file.stat().st_size
    with file.open("rb") as stream, copy.open("wb") as out:
        begin, end = (
            _next_border(stream, size * index // share.count, share.border == "blank line")
            for index in (share.index, share.index + 1)
        )
        stream.seek(begin)
        for start in range(begin, end, _READ):
            out.write(stream.read(min(_READ, end - start)))
    return begin


def _next_border(stream: BinaryIO, offset: int, blank: bool) -> int:
    """Where the first line from `offset` on begins; `blank`: the first one behind a blank one."""
    if offset == 0:
        return 0
    stream.seek(offset - 1)
    _pass_line(stream)
    while blank and not _pass_line(stream):
        pass
    return stream.tell()


def _pass_line(stream: BinaryIO) -> bool:
    """Goes behind the end of a line, and says whether the line was blank or the file ended."""
    blank = True
    while data := stream.readline(_READ):
        blank = blank and not data.strip()
        if data.endswith(b"\n"):
            return blank
    return True


def _count_lines(file: Path, end: int) -> int:
    """How many lines end before an offset."""
    with file.open("rb") as stream:
        reads = (stream.read(min(_READ, end - start)) for start in range(0, end, _READ))
        return sum(data.count(b"\n") for data in reads)
