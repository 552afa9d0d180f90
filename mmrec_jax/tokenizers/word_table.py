"""The pre-tokens ("words") of a text: which there are, how often, and in which order."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
import tokenizers
from numpy.typing import NDArray

_MOST_WORDS = 3_000_000  # kept at once; beyond, the rarest are forgotten


class WordTable:
    """Every distinct pre-token, as the ids that a tokenizer gives it, with its count.

    A word's number is its place in the order of first sight.
    """

    def __init__(self) -> None:
        self._numbers: dict[bytes, int] = {}
        self._counts: list[int] = []  # by number, also of words that were forgotten

    def add(self, encodings: Iterable[tokenizers.Encoding], weight: int = 1) -> NDArray[np.int32]:
        """Counts the words of some texts, each as `weight` words.

        Returns:
          int32: the number of each word in its order, and -1 after each text.
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
        """Keeps the table bounded on text without end; what goes depends on the text alone."""
        bound = 0
        while len(self._numbers) > _MOST_WORDS:
            bound += 1
            for word, number in list(self._numbers.items()):
                if self._counts[number] <= bound:
                    del self._numbers[word]

    def words(self) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
        """All words: int32 ids laid end to end, int64 offsets [words + 1], int64 counts [words]."""
        ids = np.frombuffer(b"".join(self._numbers), np.int32)
        lengths = [len(word) // 4 for word in self._numbers]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        counts = np.array([self._counts[number] for number in self._numbers.values()], np.int64)
        return ids, offsets, counts

    def places(self, order: NDArray[np.int32]) -> NDArray[np.int32]:
        """The place in `words` of each number of `add`; -1 for a word that was forgotten."""
        places = np.full(len(self._counts) + 1, -1, np.int32)  # the last one: number -1
        places[np.fromiter(self._numbers.values(), np.int64)] = np.arange(len(self._numbers))
        return places[order]

    def as_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything, for `from_arrays`."""
        ids, offsets, _ = self.words()
        numbers = np.fromiter(self._numbers.values(), np.int64)
        counts = np.array(self._counts, np.int64)
        return {"ids": ids, "offsets": offsets, "numbers": numbers, "counts": counts}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Self:
        """The table that `as_arrays` described."""
        table = cls()
        data, offsets = arrays["ids"].tobytes(), (4 * arrays["offsets"]).tolist()
        words: Sequence[bytes] = [data[start:stop] for start, stop in itertools.pairwise(offsets)]
        table._numbers = dict(zip(words, arrays["numbers"].tolist(), strict=True))
        table._counts = arrays["counts"].tolist()
        return table


def split_words(encoding: tokenizers.Encoding) -> list[bytes]:
    """The ids (int32) of each pre-token of a text, in order.

    `encoding` is one of `encode` or `encode_batch`; `encode_batch_fast` does not say which words
    its tokens belong to.
    """
    ids = np.array(encoding.ids, np.int32).tobytes()
    words = np.array(encoding.word_ids, np.int32)
    borders = [0, *(4 * (np.flatnonzero(words[1:] != words[:-1]) + 1)).tolist(), len(ids)]
    return [ids[start:stop] for start, stop in itertools.pairwise(borders) if stop]
