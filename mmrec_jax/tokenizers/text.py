"""Text of any size: in chunks, and as words (pre-tokens): which, how often, in which order."""

import codecs
import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Self

import numpy as np
import tokenizers
from numpy.typing import NDArray

from mmrec_jax.data.files.compression import bare_name, open_bytes
from mmrec_jax.data.files.paths import file_kind
from mmrec_jax.data.files.reading import Reading, read_file
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.checkpoint import Checkpoint

_LONGEST = 1 << 20  # characters; a longer line of plain text is cut at a space
_READ = 1 << 16  # bytes read at once
_CONLLU_TEXT = "# text = "
_BATCH = 4_000_000  # characters encoded at once, in parallel
_BETWEEN_SAVES = 20.0  # seconds
_MOST_DISTINCT = 3_000_000  # words kept in a table; beyond, the rarest are forgotten
_MOST_WORDS = 50_000_000  # of the order kept; beyond, evenly spaced stretches
_STRETCH = 1_000_000


def text_chunks(path: Path, field: str = "text") -> Iterator[str]:
    """The text of a file in order: some whole lines at a time, or one record.

    The chunks of a text file are together its text without a byte-order mark. Of a `.conllu` file
    the sentences are read; other formats as `data.files` does.

    Raises:
      UserError: the file cannot be read, is damaged or not UTF-8, or a record is not what the
        file's name promises.
    """
    if file_kind(path) != "text":
        for document in read_file(path, Reading(field=field)):
            yield document.text
    elif bare_name(path).endswith(".conllu"):
        for block in _line_blocks(path, None):
            for line in block.removesuffix("\n").split("\n"):
                if line.startswith(_CONLLU_TEXT):
                    yield line.removeprefix(_CONLLU_TEXT)
    else:
        yield from _line_blocks(path, _LONGEST)


def batched(chunks: Iterable[str], characters: int) -> Iterator[list[str]]:
    """Lists of chunks, each as soon as it has so many characters."""
    batch: list[str] = []
    size = 0
    for chunk in chunks:
        batch.append(chunk)
        size += len(chunk)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _line_blocks(path: Path, longest: int | None) -> Iterator[str]:
    """Whole lines; one of more characters than `longest` is cut."""
    rest = ""
    for block in _decoded(path):
        text = rest + block
        cut = text.rfind("\n") + 1
        if not cut and longest is not None and len(text) > longest:
            cut = text.rfind(" ")  # the space belongs to the word after it
            cut = cut if cut > 0 else len(text)
        if cut:
            yield text[:cut]
        rest = text[cut:]
    if rest:
        yield rest


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    first, offset, data = True, 0, b" "
    with open_bytes(path) as stream:
        while data:
            data = stream.read(_READ)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path}: not UTF-8 at byte offset {offset - pending + error.start} "
                    f"(0x{error.object[error.start]:02x}); convert the file to UTF-8"
                ) from None
            offset += len(data)
            yield text.removeprefix("\ufeff") if first else text
            first = first and not text


def split_words(encoding: tokenizers.Encoding) -> list[bytes]:
    """The ids (int32) of each pre-token of a text, in order.

    `encoding` is one of `encode` or `encode_batch`; `encode_batch_fast` does not say which words
    its tokens belong to.
    """
    ids = np.array(encoding.ids, np.int32).tobytes()
    words = np.array(encoding.word_ids, np.int32)
    borders = [0, *(4 * (np.flatnonzero(words[1:] != words[:-1]) + 1)).tolist(), len(ids)]
    return [ids[start:stop] for start, stop in itertools.pairwise(borders) if stop]


class WordTable:
    """Every distinct word, as token ids, with its count; numbered by first occurrence."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._counts: list[int] = []  # by number, also of words that were forgotten

    def add(self, encodings: Iterable[tokenizers.Encoding], weight: int = 1) -> NDArray[np.int32]:
        """Counts the words of some texts, each as `weight` words.

        Returns int32, the number of each word in text order, and -1 after each text.
        """
        order: list[int] = []
        numbers, counts = self._numbers, self._counts
        for encoding in encodings:
            for word in split_words(encoding):
                number = numbers.setdefault(word, len(counts))
                if number == len(counts):
                    counts.append(0)
                counts[number] += weight
                order.append(number)
            order.append(-1)
        self._forget_rare()
        return np.array(order, np.int32)

    def _forget_rare(self) -> None:
        """Keeps the table bounded; what goes depends on the text alone."""
        bound = 0
        while len(self._numbers) > _MOST_DISTINCT:
            bound += 1
            for word, number in list(self._numbers.items()):
                if self._counts[number] <= bound:
                    del self._numbers[word]

    def words(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """All words: int32 ids, concatenated; int64 offsets [words + 1]; int64 counts [words]."""
        ids = np.frombuffer(b"".join(self._numbers), np.int32)
        lengths = [len(word) // 4 for word in self._numbers]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        counts = np.array([self._counts[number] for number in self._numbers.values()], np.int64)
        return ids, offsets, counts

    def indices(self, order: NDArray[np.int32]) -> NDArray[np.int32]:
        """The index in `words` of each number of `add`; -1 for a word that was forgotten."""
        indices = np.full(len(self._counts) + 1, -1, np.int32)  # the last one: number -1
        indices[np.fromiter(self._numbers.values(), np.int64)] = np.arange(len(self._numbers))
        return indices[order]

    def as_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything, for `from_arrays`."""
        ids, offsets, _ = self.words()
        numbers = np.fromiter(self._numbers.values(), np.int64)
        counts = np.array(self._counts, np.int64)
        return {"ids": ids, "offsets": offsets, "numbers": numbers, "counts": counts}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Self:
        """The table that `as_arrays` gave."""
        table = cls()
        data, offsets = arrays["ids"].tobytes(), (4 * arrays["offsets"]).tolist()
        words = (data[start:stop] for start, stop in itertools.pairwise(offsets))
        table._numbers = dict(zip(words, arrays["numbers"].tolist(), strict=True))
        table._counts = arrays["counts"].tolist()
        return table


@dataclasses.dataclass(frozen=True, eq=False)
class CountedText:
    """A text as words."""

    table: WordTable  # its distinct words
    # int32, the index of each word of the text in `WordTable.words`, -1 between chunks
    order: NDArray[np.int32]
    weights: NDArray[np.int64]  # int64, as long as `order`, what each counts


def count_words(
    files: Sequence[tuple[Path, int]],
    field: str,
    tokenizer: tokenizers.Tokenizer,
    checkpoint: Checkpoint,
    on_progress: Callable[[int], None],
) -> CountedText:
    """Counts every pre-token of some files, from where `checkpoint` was left.

    Memory is that of a batch, of the distinct words, and of the order, which lies on disk and is
    read in stretches. Each of `files` comes with what a word of it counts; `on_progress` is called
    with the bytes of text read so far. Raises as `text_chunks`.
    """
    order_path = checkpoint.folder / "order.int32"
    saved = checkpoint.load("words")
    table = WordTable.from_arrays(saved) if saved else WordTable()
    batches, read, written = (int(n) for n in saved["position"]) if saved else (0, 0, 0)
    borders = saved["borders"].tolist() if saved else []

    def save(order: IO[bytes]) -> None:
        order.flush()
        os.fsync(order.fileno())
        position = np.array([batches, read, order.tell()], np.int64)
        arrays = {"position": position, "borders": np.array(borders, np.int64).reshape(-1, 2)}
        checkpoint.save("words", {**table.as_arrays(), **arrays})

    with open(order_path, "r+b" if saved else "wb") as order:
        order.truncate(written)
        order.seek(written)
        last_save = time.monotonic()
        weighted = (
            (batch, weight)
            for path, weight in files
            for batch in batched(text_chunks(path, field), _BATCH)
        )
        for batch, weight in itertools.islice(weighted, batches, None):
            on_progress(read)
            encodings = tokenizer.encode_batch(batch, add_special_tokens=False)
            order.write(table.add(encodings, weight).tobytes())
            borders.append((order.tell() // 4, weight))
            batches += 1
            read += sum(len(chunk.encode()) for chunk in batch)
            if time.monotonic() - last_save > _BETWEEN_SAVES:
                save(order)
                last_save = time.monotonic()
        save(order)
    on_progress(read)
    ends = np.array(borders, np.int64).reshape(-1, 2)
    return CountedText(table, *_read_order(order_path, table, ends))


def _read_order(
    path: Path, table: WordTable, borders: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Indices and weights; of a very long text those of evenly spaced stretches."""
    size = path.stat().st_size // 4
    if not size:
        return np.zeros(0, np.int32), np.zeros(0, np.int64)
    order = np.memmap(path, np.int32, "r")
    every = -(-size // _MOST_WORDS)
    indices, weights = [], []
    for start in range(0, size, every * _STRETCH):
        part = order[start : start + _STRETCH]
        batch = np.searchsorted(borders[:, 0], np.arange(start, start + len(part)), "right")
        indices.append(np.append(table.indices(part), np.int32(-1)))
        weights.append(np.append(borders[batch, 1], 1))
    return np.concatenate(indices), np.concatenate(weights)
