"""Training text as chunks that can be read in any order: tokens in memory, or text on disk."""

import abc
import bisect
import functools
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.token_store import TokenStore, cut_windows
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer

if TYPE_CHECKING:
    from mmrec_jax.data.mapped_text import MappedText

_WHOLE = 2**31 - 1
_SAMPLED_PARTS = 16
# Characters of the following part that are encoded to find its first token.
_LOOKAHEAD = 256


class Window(NamedTuple):
    """Consecutive tokens of one document: n inputs and the n targets one to their right.

    Attributes:
      tokens: [n + 1], of any integer type.
      weights: float32 [n], how much each target counts in the loss; None: 1.
    """

    tokens: NDArray[np.integer]
    weights: NDArray[np.float32] | None = None

    @property
    def length(self) -> int:
        """n, how many tokens are predicted."""
        return len(self.tokens) - 1

    def cut(self, seq_len: int) -> "Sequence[Window]":
        """Windows of `seq_len`, the last one of what is left; each target is in one of them."""
        if self.length <= seq_len:
            return [self]
        return [
            Window(
                self.tokens[start : start + seq_len + 1],
                None if self.weights is None else self.weights[start : start + seq_len],
            )
            for start in range(0, self.length, seq_len)
        ]


Source: TypeAlias = "TokenStore | MappedText"


class Chunks(abc.ABC):
    """A random-access source of grain: every token is a target of exactly one chunk.

    Attributes:
      lengths: [chunks], in a unit of the class.
      begins: bool [chunks], whether the chunk begins a document.
      in_memory: whether reading one costs nothing, so that any order will do.
    """

    lengths: NDArray[np.integer]
    begins: NDArray[np.bool_]
    in_memory: bool

    def __len__(self) -> int:
        return len(self.lengths)

    @abc.abstractmethod
    def __getitem__(self, index: int) -> Window:
        """The chunk of this number."""


class StoredChunks(Chunks):
    """The documents of a token store, cut into chunks of at most `limit` targets."""

    in_memory = True

    def __init__(self, store: TokenStore, limit: int = _WHOLE) -> None:
        self._store, windows = store, cut_windows(store, limit)
        self._starts, self.lengths, self.begins = windows.starts, windows.lengths, windows.begins

    def __getitem__(self, index: int) -> Window:
        start = int(self._starts[index])
        stop = start + int(self.lengths[index])
        weights = self._store.weights
        return Window(
            self._store.tokens[start : stop + 1],
            None if weights is None else weights[start + 1 : stop + 1],
        )


class MappedChunks(Chunks):
    """The parts of a mapped text, each encoded when it is read; lengths are in bytes.

    The last target of a part is the end token, or the first token of those that continue it. A part
    that no token spells has no target, and length 0.
    """

    in_memory = False

    def __init__(self, text: "MappedText", tokenizer: Tokenizer) -> None:
        self._text, self._tokenizer = text, tokenizer
        self.lengths, self.begins = text.lengths, text.begins

    def __getitem__(self, index: int) -> Window:
        begin, end = np.array([[self._tokenizer.bos_id], [self._tokenizer.eos_id]], np.int32)
        if not self.begins[index]:
            begin = begin[:0]
        return Window(np.concatenate([begin, self._encode(index), self._first_behind(index, end)]))

    def _first_behind(self, index: int, end: NDArray[np.int32]) -> NDArray[np.int32]:
        """The token [1] that follows a part: some tokenizers have none for white space."""
        for part in range(index + 1, len(self)):
            if self.begins[part]:
                break
            for characters in (_LOOKAHEAD, None):
                tokens = self._encode(part, characters)[:1]
                if len(tokens):
                    return tokens
        return end

    def _encode(self, part: int, characters: int | None = None) -> NDArray[np.int32]:
        try:
            text = self._text.text(part)[:characters]
            return self._tokenizer.encode(text, continues=not self.begins[part])
        except UserError as error:
            raise UserError(f"{self._text.document_name(part)}: {error}") from None


class JoinedChunks(Chunks):
    """The chunks of several sources of one kind, one source after the other."""

    def __init__(self, sources: Sequence[Chunks]) -> None:
        self._sources = sources
        self._firsts = np.cumsum([0, *map(len, sources)]).tolist()
        self.lengths = np.concatenate([source.lengths for source in sources])
        self.begins = np.concatenate([source.begins for source in sources])
        self.in_memory = sources[0].in_memory

    def __getitem__(self, index: int) -> Window:
        number = bisect.bisect_right(self._firsts, index) - 1
        return self._sources[number][index - self._firsts[number]]


class Corpus:
    """Sources that are read as one: token stores alone, or mapped texts alone."""

    def __init__(self, sources: Sequence[Source], tokenizer: Tokenizer) -> None:
        self.sources, self._tokenizer = tuple(sources), tokenizer
        self.stores = [each for each in sources if isinstance(each, TokenStore)]
        self.texts = [each for each in sources if not isinstance(each, TokenStore)]
        assert not (self.stores and self.texts)

    def chunks(self, limit: int = _WHOLE) -> Chunks:
        """Chunks of at most `limit` targets, where the text can be cut there."""
        return JoinedChunks(
            [
                *(StoredChunks(store, limit) for store in self.stores),
                *(MappedChunks(text, self._tokenizer) for text in self.texts),
            ]
        )

    @functools.cached_property
    def num_pairs(self) -> int:
        """How many tokens are predicted in an epoch; of mapped text an estimate.

        The estimate takes the tokens per byte of 16 parts at equal distances.
        """
        if self.stores:
            return sum(store.num_pairs for store in self.stores)
        chunks = self.chunks()
        sample = np.linspace(0, len(chunks) - 1, min(_SAMPLED_PARTS, len(chunks))).astype(int)
        tokens = sum(chunks[index].length for index in sample.tolist())
        return round(tokens / chunks.lengths[sample].sum() * chunks.lengths.sum())

    @property
    def num_documents(self) -> int:
        """How many documents there are."""
        stored = sum(store.num_documents for store in self.stores)
        return stored + sum(int(text.begins.sum()) for text in self.texts)

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of all texts."""
        stored = sum(store.num_bytes for store in self.stores)
        return stored + sum(int(text.lengths.sum()) for text in self.texts)

    @property
    def fingerprint(self) -> str:
        """sha256 (hex) of the text of all sources, and of the tokenizer where it matters."""
        parts = [each.fingerprint for each in self.sources]
        if self.texts:
            parts.append(self._tokenizer.fingerprint)
        return parts[0] if len(parts) == 1 else hashlib.sha256(" ".join(parts).encode()).hexdigest()


def document_runs(chunks: Chunks, share: int) -> NDArray[np.int64]:
    """Borders [runs + 1]: a batch row reads the chunks from `borders[r]` up to `borders[r + 1]`.

    A run is a document, or of a document longer than `share`, in the unit of `chunks.lengths`, a
    segment of about that length: rows would otherwise run out of other documents.
    """
    starts = np.concatenate([[0], np.cumsum(chunks.lengths, dtype=np.int64)])[:-1]
    document = np.cumsum(chunks.begins)
    offset = starts - starts[chunks.begins][document - 1]
    segment = offset // share
    new = chunks.begins.copy()
    new[1:] |= segment[1:] != segment[:-1]
    return np.append(np.flatnonzero(new), len(chunks))
