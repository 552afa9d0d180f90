"""Text of any size, written once to disk and read from there without being held.

The documents become rows of an Arrow table in the cache of `datasets` (HF_DATASETS_CACHE), found
again by the files, their sizes and times, and by how they are read.
"""

import dataclasses
import functools
import hashlib
import heapq
import itertools
import json
import mmap
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.document import Document
from mmrec_jax.data.files.reading import Reading, Source
from mmrec_jax.data.files.refusals import OnError, Refusals
from mmrec_jax.data.long_text import cut_utf8
from mmrec_jax.data.split import text_share
from mmrec_jax.errors import UserError

if TYPE_CHECKING:
    import pyarrow

PART_BYTES = 1 << 16  # of UTF-8; a longer document is several parts
_VERSION = 3  # of how documents become rows
_COLUMNS = ("text", "name", "begins", "held", "share")
_RELEASE = 256  # texts, or batches of them, that are read before their pages are given back


@dataclasses.dataclass(frozen=True)
class Holding:
    """What is not trained on.

    Attributes:
      fraction: the share of documents that is held out, by `text_share`.
      bytes: at most so much is; of more, the documents with the lowest hashes.
    """

    fraction: float
    bytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class MappedText:
    """The text of one source on disk.

    Attributes:
      name: what the user named.
      fingerprint: sha256 of the training text, wherever it lies.
      lengths: int32 [parts], UTF-8 bytes of each part of the training text.
      begins: bool [parts], whether the part begins a document.
      validation: the documents that are held out.
      notes: what is worth knowing of how the text was read, a line or some each.
    """

    name: str
    fingerprint: str
    lengths: NDArray[np.int32]
    begins: NDArray[np.bool_]
    validation: list[Document]
    notes: tuple[str, ...]
    _table: "pyarrow.Table" = dataclasses.field(repr=False)
    _maps: list[mmap.mmap] = dataclasses.field(repr=False)
    _reads: Iterator[int] = dataclasses.field(default_factory=itertools.count, repr=False)

    def text(self, part: int) -> str:
        """The text of a part, in NFC; the parts of a document make it up."""
        if next(self._reads) % _RELEASE == 0:
            _release(self._maps)
        try:
            return self._table.column("text")[part].as_py()
        except UnicodeDecodeError:
            raise _damaged(self.name) from None

    def document_name(self, part: int) -> str:
        """The name of the document that a part belongs to."""
        return self._table.column("name")[part].as_py()

    def trained_shares(self, shares: Collection[float]) -> set[float]:
        """Of some `text_share`s those that documents of the training text have."""
        import pyarrow
        from pyarrow import compute

        wanted, found = pyarrow.array(sorted(shares), pyarrow.float64()), set[float]()
        for number, batch in enumerate(self._table.to_batches()):
            if number % _RELEASE == 0:
                _release(self._maps)
            known = compute.is_in(batch["share"], value_set=wanted)
            rows = compute.and_not(compute.and_(batch["begins"], known), batch["held"])
            found.update(batch["share"].filter(rows).to_pylist())
        return found


def map_text(source: Source, reading: Reading, on_error: OnError, holding: Holding) -> MappedText:
    """The text of a source, which is read when nothing in the cache is of the same files.

    Raises:
      UserError: the package is not installed, a file is broken, or the disk is full.
    """
    try:
        import datasets
        import pyarrow
    except ImportError:
        raise UserError(
            f"config.data.train: the text of {source.name} is more than config.data.memory_mb; it "
            "is mapped from disk with datasets, which is not installed: "
            "pip install 'mmrec_jax[files]'"
        ) from None
    parts = (_VERSION, source.key, reading, on_error, holding)
    key = hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()
    kinds = ("string", "string", "bool", "bool", "float64")
    features = dict(zip(_COLUMNS, kinds, strict=True))
    try:
        dataset: Any = datasets.Dataset.from_generator(
            functools.partial(_rows, source, reading, on_error, holding),
            features=datasets.Features({n: datasets.Value(kind) for n, kind in features.items()}),
            fingerprint=key[:32],
        )
        return _opened(source.name, [Path(each["filename"]) for each in dataset.cache_files])
    except (datasets.exceptions.DatasetGenerationError, OSError, pyarrow.ArrowException) as error:
        raise _explained(error, source.name, str(datasets.config.HF_DATASETS_CACHE)) from None


def _opened(name: str, paths: Sequence[Path]) -> MappedText:
    import pyarrow
    from pyarrow import compute

    maps = list[mmap.mmap]()
    for path in paths:
        with path.open("rb") as file:
            maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    table = pyarrow.concat_tables(
        pyarrow.ipc.open_stream(pyarrow.py_buffer(each)).read_all() for each in maps
    )
    summary = json.loads(table.column("text")[-1].as_py())
    columns = list[tuple[NDArray[Any], ...]]()
    for number, batch in enumerate(table.to_batches()):
        if number % _RELEASE == 0:
            _release(maps)
        arrays = compute.binary_length(batch["text"]), batch["begins"], batch["held"]
        columns.append(tuple(each.to_numpy(zero_copy_only=False) for each in arrays))
    lengths, begins, held = map(np.concatenate, zip(*columns, strict=True))
    held = held[:-1]
    count = int(np.count_nonzero(~held))
    validation = list[Document]()
    for row in range(count, len(held)):
        document_name, text = (table.column(each)[row].as_py() for each in ("name", "text"))
        before = "" if begins[row] else validation.pop().text
        validation.append(Document(document_name, before + text))
    _release(maps)
    return MappedText(
        name,
        summary["sha256"],
        lengths[:count],
        begins[:count],
        validation,
        tuple(summary["notes"]),
        table,
        maps,
    )


def _release(maps: Sequence[mmap.mmap]) -> None:
    """Gives mapped pages back, which else count as this process's own until memory is short."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for each in maps:
            each.madvise(mmap.MADV_DONTNEED)


def _rows(
    source: Source, reading: Reading, on_error: OnError, holding: Holding
) -> Iterator[dict[str, Any]]:
    """Parts of training documents, then those of held-out ones, then a row with a summary.

    That of a table that was not written to its end is not there.
    """
    digest, refusals = hashlib.sha256(), Refusals(on_error)
    # The held-out documents, the highest share first; above `bound` documents are trained on.
    held, size, bound = list[tuple[float, int, Document]](), 0, holding.fraction

    def trained(document: Document, share: float) -> Iterator[dict[str, Any]]:
        for row in _parts(document, share, held=False):
            digest.update(b"\0" if row["begins"] else b"\1")
            digest.update(row["text"].encode())
            yield row

    for number, document in enumerate(source.documents(reading, refusals)):
        share = text_share(document.text)
        if share >= bound:
            yield from trained(document, share)
            continue
        heapq.heappush(held, (-share, number, document))
        size += len(document.utf8)
        while size > holding.bytes:
            bound = -held[0][0]
            while held and -held[0][0] == bound:  # copies stay together
                *_, last = heapq.heappop(held)
                size -= len(last.utf8)
                yield from trained(last, bound)
    for share, _, document in sorted(held, key=lambda each: each[1]):
        yield from _parts(document, -share, held=True)
    notes = [refusals.describe()] if refusals.count else []
    if bound < holding.fraction:
        notes.append(
            f"{source.name}: {len(held):,} documents are held out, a share of {bound:.2g} and not "
            f"config.data.validation_fraction = {holding.fraction}: validation text is at most a "
            "sixteenth of config.data.memory_mb"
        )
    summary = {"sha256": digest.hexdigest(), "notes": notes}
    yield dict(zip(_COLUMNS, (json.dumps(summary), "", True, True, 1.0), strict=True))


def _parts(document: Document, share: float, *, held: bool) -> Iterator[dict[str, Any]]:
    """Rows of at most `PART_BYTES`."""
    name = document.name.encode("utf-8", "replace").decode()
    for number, part in enumerate(cut_utf8(document.utf8, PART_BYTES)):
        row = part.decode(), name, number == 0, held, share
        yield dict(zip(_COLUMNS, row, strict=True))


def _damaged(name: str) -> UserError:
    import datasets

    folder = Path(datasets.config.HF_DATASETS_CACHE, "generator")  # of all texts, and of no more
    return UserError(
        f"the text of {name} in {folder} is damaged: delete that folder, and it is written anew"
    )


def _explained(error: Exception, name: str, cache: str) -> BaseException:
    """What became of writing a table, in one line; the error itself if it is no mistake."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UserError):
            return cause
        if isinstance(cause, OSError) and cause.errno is not None:
            return UserError(
                f"the text of {name} cannot be written to {cache}: "
                f"{cause.strerror or cause}; it takes as much room as the text has "
                "(HF_DATASETS_CACHE names another folder)"
            )
        cause = cause.__cause__ or cause.__context__
    import pyarrow

    damaged = isinstance(error, OSError | pyarrow.ArrowException)
    return _damaged(name) if damaged else error
