"""What every tokenizer can do, and how it is stored beside a checkpoint."""

import abc
import functools
import hashlib
import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.chat_template import FORMER_FILE, TEMPLATE_FILE, ChatTemplate

INFO_FILE = "tokenizer_info.json"


class Tokenizer(abc.ABC):
    """Text to ids and back.

    `decode(encode(x))` is NFC(x) for every string x that `encode` accepts, except for tokenizers
    read from a file that were made to lose something (case, accents, spaces).

    Attributes:
      kind: the storage format, one of "sentencepiece", "huggingface", "byte", "char".
      content_file: the name under which `save` stores `content`.
      vocab_size: number of ids, special ones included; ids are 0 .. vocab_size - 1.
      bos_id: the id before the first token of a document; equal to `eos_id` where a tokenizer
        from a file has no such id.
      eos_id: the id after the last token of a document.
      content: the bytes that determine the tokenizer.
      chat_template: how conversations are written for the model that it belongs to, if it was
        trained on any. It is kept with the tokenizer and does not change what ids mean.
    """

    kind: ClassVar[str]
    content_file: ClassVar[str]
    vocab_size: int
    bos_id: int
    eos_id: int
    content: bytes
    chat_template: ChatTemplate | None = None

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) of the kind and the content: equal if and only if the ids mean the same."""
        return fingerprint(self.kind, self.content)

    def encode(self, text: str) -> NDArray[np.int32]:
        """The ids of NFC(text), int32, without `bos_id` and `eos_id`.

        Text that looks like a special token ("</s>") is spelled like any other text.

        Raises:
          UserError: `text` holds half a surrogate pair, or (kind "char") an unknown character.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UserError(
                f"the text holds half a surrogate pair, U+{ord(text[error.start]):04X}, at "
                f"character {error.start}; it is not valid Unicode"
            ) from None
        return self._encode(unicodedata.normalize("NFC", text))

    def encode_utf8(self, text: bytes) -> NDArray[np.int32]:
        """`encode` of a text in UTF-8 that is in NFC, as `Document.utf8` is.

        Neither is checked: a document has been, and tokenizers take the bytes as they are.

        Raises:
          UserError: (kind "char") an unknown character.
        """
        return self._encode(text.decode("utf-8"))

    @classmethod
    @abc.abstractmethod
    def from_content(cls, content: bytes, name: str) -> Self:
        """The tokenizer of some `content`; errors call it `name`.

        Raises:
          UserError: `content` is damaged or has no token that ends a text.
        """

    @abc.abstractmethod
    def _encode(self, text: str) -> NDArray[np.int32]: ...

    def decode(self, ids: Sequence[int] | NDArray[np.integer]) -> str:
        """The text of `ids`; special ids are skipped, broken UTF-8 becomes U+FFFD.

        Raises:
          ValueError: an id is below 0 or at least `vocab_size`.
        """
        array = np.asarray(ids, np.int64)
        if array.size and not 0 <= array.min() <= array.max() < self.vocab_size:
            raise ValueError(f"ids must be in 0 .. {self.vocab_size - 1}")
        return self._decode(array)

    @abc.abstractmethod
    def _decode(self, ids: NDArray[np.int64]) -> str: ...

    @abc.abstractmethod
    def id_to_piece(self, index: int) -> str:
        """A readable name of one id; special ids and single bytes look like `<s>` and `<0x0A>`."""

    def piece_to_id(self, piece: str) -> int | None:
        """The id of this name (see `id_to_piece`), or None if there is none."""
        return self._ids.get(piece)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {self.id_to_piece(index): index for index in range(self.vocab_size)}

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the tokenizer into `directory`, which is made if needed.

        Each file is replaced in one step and `INFO_FILE`, which holds the fingerprint, comes last:
        after a kill at any moment, what is there either loads or is seen to be broken.

        Raises:
          UserError: the files cannot be written.
        """
        folder = Path(directory)
        template = self.chat_template
        info = {
            "kind": self.kind,
            "fingerprint": self.fingerprint,
            "vocab_size": self.vocab_size,
            "bos_id": self.bos_id,
            "eos_id": self.eos_id,
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / self.content_file, self.content)
            (folder / FORMER_FILE).unlink(missing_ok=True)
            if template is None:
                (folder / TEMPLATE_FILE).unlink(missing_ok=True)
            else:
                replace_file(folder / TEMPLATE_FILE, template.source.encode())
            replace_file(folder / INFO_FILE, (json.dumps(info, indent=2) + "\n").encode())
        except OSError as error:
            raise UserError(f"{folder}: cannot write the tokenizer: {error.strerror}") from None


def fingerprint(kind: str, content: bytes) -> str:
    """The `Tokenizer.fingerprint` of stored content."""
    return hashlib.sha256(f"{kind}\n".encode() + content).hexdigest()
