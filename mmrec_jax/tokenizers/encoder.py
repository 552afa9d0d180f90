"""Any tokenizer of a file, encoding many texts at once."""

from collections.abc import Sequence
from pathlib import Path

import tokenizers

from mmrec_jax.data.huggingface_tokenizer import HuggingFaceTokenizer
from mmrec_jax.data.tokenizer import Tokenizer
from mmrec_jax.data.tokenizer_cache import read_tokenizer_file
from mmrec_jax.tokenizers.bpe_file import load_tokenizer
from mmrec_jax.tokenizers.byte_alphabet import ALPHABET


class Encoder:
    """A `tokenizer.json` or a sentencepiece `.model`.

    Attributes:
      name: the path.
      tokenizer: as the trainer would use it.
    """

    def __init__(self, path: Path, option: str) -> None:
        """Reads a file; errors call it by `option`.

        Raises:
          UserError: it is missing, damaged, or no tokenizer.
        """
        self.name = str(path)
        self.tokenizer: Tokenizer = read_tokenizer_file(path, option)
        self._library: tokenizers.Tokenizer | None = None
        if isinstance(self.tokenizer, HuggingFaceTokenizer):
            self._library = load_tokenizer(self.tokenizer.content)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of NFC texts."""
        if self._library is None:
            return [self.tokenizer.encode(text).tolist() for text in texts]
        encodings = self._library.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def count_pre_tokens(self, texts: Sequence[str]) -> int | None:
        """Into how many pieces the texts are cut before any merge; None where that is not known."""
        if self._library is None:
            return None
        encodings = self._library.encode_batch(texts, add_special_tokens=False)
        return sum(len(set(encoding.word_ids)) for encoding in encodings)

    def byte_level_tokens(self) -> tuple[tokenizers.Tokenizer, dict[int, str]] | None:
        """The library's tokenizer and its tokens that stand for bytes; None if it has no such."""
        if self._library is None:
            return None
        special = {token.content for token in self._library.get_added_tokens_decoder().values()}
        vocab = self._library.get_vocab(with_added_tokens=True)
        tokens = {index: token for token, index in vocab.items() if token not in special}
        if not ALPHABET.issuperset("".join(tokens.values())):
            return None
        return self._library, tokens

    def text_of(self, index: int) -> str:
        """The text of one id, as far as it is whole characters."""
        return self.tokenizer.decode([index]).replace("\ufffd", "")

    def pieces(self, text: str) -> list[str]:
        """What each id of a short text adds to it; "" for one that ends inside a character."""
        ids = self.tokenizer.encode(text)
        texts = [self.tokenizer.decode(ids[:count]) for count in range(len(ids) + 1)]
        seen, found = "", []
        for text_so_far in texts[1:]:
            whole = text_so_far if "\ufffd" not in text_so_far else seen
            found.append(whole[len(seen) :])
            seen = whole
        return found
