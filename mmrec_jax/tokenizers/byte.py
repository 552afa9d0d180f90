"""One id a UTF-8 byte."""

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.tokenizers.tokenizer import Tokenizer


class ByteTokenizer(Tokenizer):
    """Ids 0..255 are the bytes themselves, 256 begins and 257 ends a document."""

    kind: ClassVar[str] = "byte"
    content_file: ClassVar[str] = "bytes.txt"

    def __init__(self) -> None:
        self.vocab_size = 258
        self.bos_id = 256
        self.eos_id = 257
        self.control_ids = frozenset((256, 257))
        self.content = b"ids 0..255 are bytes, 256 begins and 257 ends a document\n"

    @classmethod
    def from_content(cls, content: bytes, name: str, begin: str = "", end: str = "") -> Self:
        """See `Tokenizer.from_content`."""
        del content, name, begin, end  # there is only one
        return cls()

    def _encode(self, text: str) -> NDArray[np.int32]:
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def _decode(self, ids: NDArray[np.int64]) -> str:
        return ids[ids < 256].astype(np.uint8).tobytes().decode("utf-8", errors="replace")

    def id_to_piece(self, index: int) -> str:
        """See `Tokenizer.id_to_piece`."""
        if index >= 256:
            return ("<s>", "</s>")[index - 256]
        return chr(index) if index < 128 else f"<0x{index:02X}>"
