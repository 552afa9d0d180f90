"""An existing Hugging Face `tokenizer.json`."""

import json
from typing import ClassVar, Self

import numpy as np
import tokenizers
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.tokenizer import Tokenizer

_BOS = ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "[BOS]", "[CLS]")
_EOS = (
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<|im_end|>",
    "<|endofprompt|>",
    "[EOS]",
    "[SEP]",
)


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library.

    The file does not say which of its tokens begin and end a text; they are looked up by their
    usual names.
    """

    kind: ClassVar[str] = "huggingface"
    content_file: ClassVar[str] = "tokenizer.json"

    def __init__(self, content: bytes, name: str) -> None:
        self.content = content
        try:
            json.loads(content)
            self._tokenizer = tokenizers.Tokenizer.from_buffer(content)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{name}: this is not a Hugging Face tokenizer.json: {reason}"
            ) from None
        self._tokenizer.encode_special_tokens = True  # "</s>" in a text is text
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        eos = next((token for token in _EOS if token in vocabulary), None)
        if eos is None:
            raise UserError(
                f"{name}: the tokenizer has no end-of-text token; one of {', '.join(_EOS)} "
                "is needed"
            )
        self.eos_id = vocabulary[eos]
        self.bos_id = next(
            (vocabulary[token] for token in _BOS if token in vocabulary), self.eos_id
        )

    @classmethod
    def from_content(cls, content: bytes, name: str) -> Self:
        """See `Tokenizer.from_content`."""
        return cls(content, name)

    def _encode(self, text: str) -> NDArray[np.int32]:
        return np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def _decode(self, ids: NDArray[np.int64]) -> str:
        special = (self.bos_id, self.eos_id)
        kept = [index for index in ids.tolist() if index not in special]
        return self._tokenizer.decode(kept, skip_special_tokens=True)

    def id_to_piece(self, index: int) -> str:
        """See `Tokenizer.id_to_piece`."""
        return self._tokenizer.id_to_token(index) or f"<{index}>"
