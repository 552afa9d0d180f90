"""Weights of tokens in the loss: those behind the root of a word may count more or less."""

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.document import Document
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.errors import UserError
from mmrec_jax.turkish.piece_text import piece_texts
from mmrec_jax.turkish.segmenter import treebank_segmenter
from mmrec_jax.turkish.words import WORD


class SuffixWeights:
    """Weighs the tokens of documents by the segmenter."""

    def __init__(self, weight: float) -> None:
        """`weight`: of a token in suffixes; every other token has 1."""
        self._weight = weight
        self._texts: list[str | None] = []
        self._tokenizer: Tokenizer | None = None

    def __call__(
        self, document: Document, tokens: NDArray[np.int32], tokenizer: Tokenizer
    ) -> NDArray[np.float32]:
        """The weight of each token of a document, float32.

        A token is in a suffix if its first letter is behind the root of a word; a token that spans
        root and suffix belongs to the root.

        Raises:
          UserError: the tokenizer does not spell its text (it drops case, accents or spaces), so
            that there is no telling which token is where.
        """
        if tokenizer is not self._tokenizer:
            self._texts, self._tokenizer = piece_texts(tokenizer), tokenizer
        starts = self._starts(document, tokens, tokenizer)
        in_suffix = np.zeros(len(document.text) + 1, bool)
        segment = treebank_segmenter().segment
        for match in WORD.finditer(document.text):
            found = segment(match[0])
            in_suffix[match.start() + found.end : match.end()] = True
        return np.where(in_suffix[starts], self._weight, 1).astype(np.float32)

    def _starts(
        self, document: Document, tokens: NDArray[np.int32], tokenizer: Tokenizer
    ) -> NDArray[np.int64]:
        """Where each token's first letter is in the text (a space before it passed over)."""
        text, place = document.text, 0
        starts = np.zeros(len(tokens), np.int64)
        index = 0
        while index < len(tokens):
            stop = index + 1
            piece = self._texts[tokens[index]]
            if piece is None:  # parts of characters: together they are whole
                while stop < len(tokens) and self._texts[tokens[stop]] is None:
                    stop += 1
                piece = tokenizer.decode(tokens[index:stop])
            if not text.startswith(piece, place):
                # Only the first word of a text may lack the space that its piece begins with.
                if index or not text.startswith(piece[1:], place):
                    raise UserError(
                        f"{document.name}: the tokenizer does not spell this text letter by letter"
                        ", which config.turkish.suffix_weight needs; set it to 1 or take another "
                        "tokenizer"
                    )
                piece = piece[1:]
            blanks = len(piece) - len(piece.lstrip())
            starts[index:stop] = place + (blanks if blanks < len(piece) else 0)
            place += len(piece)
            index = stop
        return starts
