"""Loss weights of tokens: those in suffixes may count more or less than those in roots."""

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer
from mmrec_jax.turkish.letters import WORD, normalise
from mmrec_jax.turkish.segmenter import segment
from mmrec_jax.turkish.vowel_table import piece_texts


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

        A token is in a suffix if its first letter is after the root of a word; a token that spans
        root and suffix belongs to the root.

        Raises:
          UserError: the tokenizer does not spell its text (it drops case, accents or spaces), so
            tokens cannot be located in it.
        """
        if tokenizer is not self._tokenizer:
            self._texts, self._tokenizer = piece_texts(tokenizer), tokenizer
        starts = self._starts(document, tokens, tokenizer)
        in_suffix = np.zeros(len(document.text) + 1, bool)
        for match in WORD.finditer(document.text):
            root = segment(match[0]).end  # in letters; an i with two dots (U+0307) is one
            while len(normalise(match[0][:root])) < segment(match[0]).end:
                root += 1
            in_suffix[match.start() + root : match.end()] = True
        return np.where(in_suffix[starts], self._weight, 1).astype(np.float32)

    def _starts(
        self, document: Document, tokens: NDArray[np.int32], tokenizer: Tokenizer
    ) -> NDArray[np.int64]:
        """The offset of each token's first letter in the text, after leading spaces."""
        text, offset = document.text, 0
        starts = np.zeros(len(tokens), np.int64)
        index = 0
        while index < len(tokens):
            stop = index + 1
            part = self._texts[tokens[index]]
            if part is None:  # parts of characters: together they are whole
                while stop < len(tokens) and self._texts[tokens[stop]] is None:
                    stop += 1
                part = tokenizer.decode(tokens[index:stop])
            if not text.startswith(part, offset):
                # Only the first word of a text may lack the space that its token begins with.
                if index or not text.startswith(part[1:], offset):
                    raise UserError(
                        f"{document.name}: the tokenizer does not spell this text letter by letter"
                        ", which config.turkish.suffix_weight needs; set it to 1 or take another "
                        "tokenizer"
                    )
                part = part[1:]
            blanks = len(part) - len(part.lstrip())
            starts[index:stop] = offset + (blanks if blanks < len(part) else 0)
            offset += len(part)
            index = stop
        return starts
