"""A split as numbers: all documents in one array."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer

# (document, its tokens, tokenizer) -> the weight of each token in the loss
Weigh = Callable[[Document, NDArray[np.int32], Tokenizer], NDArray[np.float32]]

# Characters of a part. While it encodes a text a tokenizer may take 200 bytes for each.
_PART = 1 << 18
_TO_LAST_WORD_END = re.compile(r".*\S(?=\s)", re.DOTALL)


@dataclasses.dataclass(frozen=True, eq=False)
class TokenStore:
    """The tokens of some documents, laid end to end.

    Document d is `tokens[offsets[d] : offsets[d + 1]]` = begin token, its tokens, end token. It
    holds one (input, target) pair less: all its tokens and the end token are predicted.

    The arrays may be memory-mapped.

    Attributes:
      tokens: int32 [number of tokens], begin and end tokens included.
      offsets: int64 [number of documents + 1].
      byte_counts: int64 [number of documents], UTF-8 bytes of the NFC text that is scored: all of
        it, or of conversations the responses.
      character_counts: int64 [number of documents], code points of the same text.
      weights: float32 [number of tokens], how much each counts in the loss as a target; None: all
        1.
      name: of the source, where there are several.
      unspelled_bytes: of all texts, those that no token of the vocabulary spells.
      content_hash: sha256 (hex) of all that, where it is known; empty: `fingerprint` reads it.
    """

    tokens: NDArray[np.int32]
    offsets: NDArray[np.int64]
    byte_counts: NDArray[np.int64]
    character_counts: NDArray[np.int64]
    weights: NDArray[np.float32] | None = None
    name: str = ""
    unspelled_bytes: int = 0
    content_hash: str = ""

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        tokenizer: Tokenizer,
        weigh: Weigh | None = None,
        name: str = "",
    ) -> "TokenStore":
        """Encodes `documents`, in their order; with `weigh` their tokens have weights.

        Raises:
          UserError: there are none, or the tokenizer or `weigh` refuses one (named).
        """
        parts, weights = list[NDArray[np.int32]](), list[NDArray[np.float32]]()
        sizes = list[tuple[int, int, int]]()  # in tokens, bytes and characters
        unspelled = 0
        one = np.ones(1, np.float32)
        bos = np.array([tokenizer.bos_id], np.int32)
        eos = np.array([tokenizer.eos_id], np.int32)
        for document in documents:
            try:
                tokens = encode_long(tokenizer, document.text)
            except UserError as error:
                raise UserError(f"{document.name}: {error}") from None
            parts += [bos, tokens, eos]
            if weigh is not None:
                weights += [one, weigh(document, tokens, tokenizer), one]
            unspelled += tokenizer.unspelled_bytes(document.text, tokens)
            sizes.append((len(tokens) + 2, len(document.text.encode()), len(document.text)))
        if not parts:
            of = f" {name!r}" if name else ""
            raise UserError(f"the corpus{of} is empty: there is no document to read tokens from")
        lengths, byte_counts, character_counts = np.array(sizes, np.int64).T
        return cls(
            tokens=np.concatenate(parts),
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            byte_counts=byte_counts,
            character_counts=character_counts,
            weights=np.concatenate(weights) if weights else None,
            unspelled_bytes=unspelled,
            name=name,
        )

    @property
    def num_documents(self) -> int:
        """How many documents there are."""
        return len(self.offsets) - 1

    @property
    def num_pairs(self) -> int:
        """How many tokens are predicted in one pass."""
        return len(self.tokens) - self.num_documents

    @property
    def num_bytes(self) -> int:
        """UTF-8 bytes of all texts: the denominator of bits per byte."""
        return int(self.byte_counts.sum())

    @property
    def num_characters(self) -> int:
        """Code points of all texts: the denominator of bits per character."""
        return int(self.character_counts.sum())

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of the tokens, the borders of the documents, and the weights if any."""
        if self.content_hash:
            return self.content_hash
        digest = hashlib.sha256(np.ascontiguousarray(self.offsets).data)
        digest.update(np.ascontiguousarray(self.tokens).data)
        if self.weights is not None:
            digest.update(np.ascontiguousarray(self.weights).data)
        return digest.hexdigest()


def cut_text(text: str, size: int) -> Iterator[str]:
    """Parts of at most `size` characters that are together the text.

    A part ends behind a word where it has one that white space follows, so that most tokenizers
    give the parts the tokens of the whole.
    """
    begin = 0
    while len(text) - begin > size:
        word_end = _TO_LAST_WORD_END.match(text, begin, begin + size + 1)
        end = word_end.end() if word_end else begin + size
        yield text[begin:end]
        begin = end
    yield text[begin:]


def encode_long(tokenizer: Tokenizer, text: str) -> NDArray[np.int32]:
    """`tokenizer.encode(text)`, of a text (in NFC) of more than 262,144 characters part by part."""
    first, *others = cut_text(text, _PART)
    more = [tokenizer.encode(part, continues=True) for part in others]
    return np.concatenate([tokenizer.encode(first), *more])
