"""Text of any size: in chunks, and as words (pre-tokens): which, how often, in which order."""

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from mmrec_jax.data.files.compression import bare_name, open_bytes
from mmrec_jax.data.files.paths import file_kind
from mmrec_jax.data.files.reading import Reading, read_file
from mmrec_jax.data.files.text import decoded

_LONGEST = 1 << 20  # bytes; a longer line of plain text is cut before a space
_READ = 1 << 16  # bytes read at once
_CONLLU_TEXT = "# text = "
_BATCH = 4_000_000  # characters encoded at once, in parallel
_MOST_DISTINCT = 3_000_000  # words kept in a table; beyond, the rarest are forgotten
_MOST_WORDS = 50_000_000  # of the order kept; beyond, evenly spaced batches


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
        return
    for lines in _lines(path):
        if not bare_name(path).endswith(".conllu"):
            yield lines
            continue
        for line in lines.split("\n"):
            if line.startswith(_CONLLU_TEXT):
                yield line.removeprefix(_CONLLU_TEXT)


def _lines(path: Path) -> Iterator[str]:
    """Whole lines, some at a time; one of more than `_LONGEST` bytes is cut."""
    rest, offset = b"", 0
    with open_bytes(path) as stream:
        while data := rest + stream.read(_READ):
            cut = data.rfind(b"\n") + 1
            if len(data) == len(rest):  # the end
                cut = len(data)
            elif not cut and len(data) > _LONGEST:
                begins = (i for i in reversed(range(len(data))) if data[i] & 0xC0 != 0x80)
                cut = max(0, data.rfind(b" ")) or next(begins, len(data))  # before a character
            if cut:
                yield decoded(data[:cut], str(path), offset)
            rest, offset = data[cut:], offset + cut


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


def split_words(encoding: tokenizers.Encoding, added: Collection[bytes]) -> list[bytes]:
    """The ids (int32) of each pre-token of a text, in order; b"" for one of the `added` tokens.

    `encoding` is one of `encode` or `encode_batch`; `encode_batch_fast` does not say which words
    its tokens belong to.
    """
    ids = np.array(encoding.ids, np.int32).tobytes()
    words = np.array(encoding.word_ids, np.int32)
    borders = [0, *(4 * (np.flatnonzero(words[1:] != words[:-1]) + 1)).tolist(), len(ids)]
    parts = (ids[start:stop] for start, stop in itertools.pairwise(borders) if stop)
    return [b"" if part in added else part for part in parts]


def added_words(tokenizer: tokenizers.Tokenizer) -> frozenset[bytes]:
    """The added tokens as pre-tokens: nothing is learned of them or across them."""
    ids = tokenizer.get_added_tokens_decoder()
    return frozenset(np.int32(index).tobytes() for index in ids)


class WordTable:
    """Every distinct word, as token ids, with its count; numbered by first occurrence."""

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._counts: list[int] = []  # by number, also of words that were forgotten

    def add(
        self, encodings: Iterable[tokenizers.Encoding], added: Collection[bytes]
    ) -> NDArray[np.int32]:
        """Counts the words of some texts.

        Returns int32, the number of each word in text order, and -1 for each of the `added` tokens
        and after each text.
        """
        order: list[int] = []
        numbers, counts = self._numbers, self._counts
        for encoding in encodings:
            for word in split_words(encoding, added):
                if not word:
                    order.append(-1)
                    continue
                number = numbers.setdefault(word, len(counts))
                if number == len(counts):
                    counts.append(0)
                counts[number] += 1
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
        return ids, offsets, np.array(self._counts, np.int64)[self.numbers()]

    @property
    def size(self) -> int:
        """How many numbers were given."""
        return len(self._counts)

    def numbers(self) -> NDArray[np.int64]:
        """The number of each of `words`."""
        return np.fromiter(self._numbers.values(), np.int64, len(self._numbers))

    def indices(self, order: NDArray[np.int32]) -> NDArray[np.int32]:
        """The index in `words` of each number of `add`; -1 for a word that was forgotten."""
        indices = np.full(len(self._counts) + 1, -1, np.int32)  # the last one: number -1
        indices[self.numbers()] = np.arange(len(self._numbers))
        return indices[order]


@dataclasses.dataclass(frozen=True)
class Source:
    """What was found in a file."""

    size: int  # bytes of text
    words: int
    once: int  # words that occur in it once


@dataclasses.dataclass(frozen=True, eq=False)
class CountedText:
    """A text as words."""

    table: WordTable  # its distinct words
    counts: NDArray[np.int64]  # what the occurrences of each of `WordTable.words` count together
    # int32, the index of each word of the text in `WordTable.words`, -1 between chunks
    order: NDArray[np.int32]
    weights: NDArray[np.int64]  # int64, as long as `order`, what each counts


def count_words(
    files: Sequence[Path],
    field: str,
    tokenizer: tokenizers.Tokenizer,
    weigh: Callable[[Sequence[Source]], Sequence[int]],
    on_progress: Callable[[int], None],
) -> CountedText:
    """Counts every pre-token of some files.

    Memory is that of a batch, of the distinct words of each file, and of the order. `weigh` says
    what a word of each file counts; `on_progress` is called with the bytes of text read so far.
    Raises as `text_chunks`.
    """
    table, added, read = WordTable(), added_words(tokenizer), 0
    kept: list[tuple[NDArray[np.int32], int]] = []  # the words of each batch, and which file's
    sources, occurrences = [], []
    every, number = 1, 0
    for file, path in enumerate(files):
        before, found = read, np.zeros(0, np.int64)
        for batch in batched(text_chunks(path, field), _BATCH):
            on_progress(read)
            order = table.add(tokenizer.encode_batch(batch, add_special_tokens=False), added)
            earlier, found = found, np.bincount(order[order >= 0], minlength=len(found))
            found[: len(earlier)] += earlier
            if number % every == 0:
                kept.append((order, file))
            if sum(len(order) for order, _ in kept) > _MOST_WORDS:
                kept, every = kept[::2], 2 * every
            number += 1
            read += sum(len(chunk.encode()) for chunk in batch)
        sources.append(Source(read - before, int(found.sum()), int(np.count_nonzero(found == 1))))
        words = np.flatnonzero(found)
        occurrences.append((words, found[words]))
    on_progress(read)
    by_file = weigh(sources)
    counts = np.zeros(table.size, np.int64)
    for weight, (words, found) in zip(by_file, occurrences, strict=True):
        counts[words] += weight * found
    orders = [np.zeros(0, np.int32), *(order for order, _ in kept)]
    weights = [np.zeros(0, np.int64), *(np.full(len(order), by_file[file]) for order, file in kept)]
    order = table.indices(np.concatenate(orders))
    return CountedText(table, counts[table.numbers()], order, np.concatenate(weights))
