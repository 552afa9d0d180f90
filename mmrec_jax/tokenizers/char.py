"""One id a character, for corpora with a small alphabet."""

from collections.abc import Iterable
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer


class CharTokenizer(Tokenizer):
    """Id 0 begins and 1 ends a document; then come the characters, sorted by code point.

    There are no byte ids to fall back on, so a text corpus of 65 characters has exactly 67 ids
    and a character that the training text lacks is refused rather than replaced.
    """

    kind: ClassVar[str] = "char"
    content_file: ClassVar[str] = "characters.txt"

    def __init__(self, characters: str) -> None:
        """`characters`: each one once, sorted (as `from_texts` makes them)."""
        self.characters = characters
        self.bos_id = 0
        self.eos_id = 1
        self.control_ids = frozenset((0, 1))
        self.vocab_size = 2 + len(characters)
        self.content = characters.encode("utf-8")

    @classmethod
    def from_content(cls, content: bytes, name: str, begin: str = "", end: str = "") -> Self:
        """See `Tokenizer.from_content`."""
        try:
            return cls(content.decode("utf-8"))
        except UnicodeDecodeError:
            raise UserError(f"{name}: this is not a list of characters in UTF-8") from None

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Self:
        """A tokenizer for exactly the characters of `texts`, which must be NFC."""
        return cls("".join(sorted(set().union(*texts))))

    def _encode(self, text: str) -> NDArray[np.int32]:
        try:
            return np.fromiter(map(self._ids.__getitem__, text), np.int32, len(text))
        except KeyError as error:
            character = str(error.args[0])
            raise UserError(
                f"character {character!r} (U+{ord(character):04X}) at character "
                f"{text.index(character)} is not one of the {len(self.characters)} of the training "
                'text; tokenizer.kind "unigram", "bpe" or "byte" can spell any character'
            ) from None

    def _decode(self, ids: NDArray[np.int64]) -> str:
        return "".join(self.characters[index - 2] for index in ids.tolist() if index >= 2)

    def id_to_piece(self, index: int) -> str:
        """See `Tokenizer.id_to_piece`."""
        return ("<s>", "</s>")[index] if index < 2 else self.characters[index - 2]
