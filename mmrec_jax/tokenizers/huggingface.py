"""An existing Hugging Face `tokenizer.json`."""

import copy
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import tokenizers
from numpy.typing import NDArray

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.bpe_file import ALPHABET, extension_fault, spell, unspell
from mmrec_jax.tokenizers.library import is_panic, load_library, read_settings, steps
from mmrec_jax.tokenizers.tokenizer import Tokenizer, looks_like_control

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
# NFC text never holds this character, so a token whose name ends with it is found in no text.
_NOWHERE = "\u0340"
_BYTE = re.compile("<0x([0-9A-F]{2})>")


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library.

    The file does not say which of its tokens begin and end a text: they are looked up by their
    usual names, unless `begin` and `end` name them.

    Attributes:
      library: what the text is encoded with; the names in it may differ from `id_to_piece`.
    """

    kind: ClassVar[str] = "huggingface"
    content_file: ClassVar[str] = "tokenizer.json"

    def __init__(self, content: bytes, name: str, begin: str = "", end: str = "") -> None:
        super().__init__(content, name)
        settings = read_settings(content, name)
        model, added = settings["model"], settings["added_tokens"]
        names = {token["content"] for token in added} | _names(model)
        special = [token["content"] for token in added if token.get("special")]
        usual = [next((each for each in some if each in names), "") for some in (_BOS, _EOS)]
        first, last = self._choose_ends(name, names, (begin, end), (usual[0], usual[1]), special)
        control = {each for each in names if each in special or each in (first, last)}
        control |= {token["content"] for token in added if looks_like_control(token["content"])}
        self._name, self._settings = name, _hidden(settings, control)
        self.library = load_library(self._settings, name)
        vocabulary = self.library.get_vocab(with_added_tokens=True)
        self._pieces = {i: piece.removesuffix(_NOWHERE) for piece, i in vocabulary.items()}
        ids = {piece: index for index, piece in self._pieces.items()}
        self.vocab_size = max(self._pieces) + 1
        self.bos_id, self.eos_id = ids[first], ids[last]
        self.control_ids = frozenset(ids[each] for each in control)
        self._without_text = {ids[each] for each in special} | {self.bos_id, self.eos_id}
        unknown = model.get("unk_token")
        self.unknown_id = model.get("unk_id") if unknown is None else ids.get(unknown)
        byte_names = ((i, _BYTE.fullmatch(piece)) for i, piece in self._pieces.items())
        self._bytes = {}
        if model.get("byte_fallback"):
            self._bytes = {i: int(found[1], 16) for i, found in byte_names if found}
        self._inputs = dict(self._pieces)  # of the decoder
        self.lossless = extension_fault(settings) is None and names.issuperset(ALPHABET)
        if (settings["decoder"] or {}).get("type") != "ByteLevel":
            self.lossless = False
            return
        for token in added:
            text = token["content"]
            if text not in control:
                self._inputs[ids[text]] = spell(text)  # else the decoder takes letters for bytes
                # A letter that is the first byte of other letters, too, has one id with it.
                shared = text in ALPHABET and unspell(text) < b"\xf5"
                self.lossless &= not (shared or token.get("lstrip") or token.get("rstrip"))
        if any(part.get("behavior") == "Removed" for part in steps(settings, "pre_tokenizer")):
            self.lossless = False

    @functools.cached_property
    def _continuing(self) -> tokenizers.Tokenizer:
        """The same without the space that some files put before every text."""
        plain = _without_prefix(self._settings)
        return self.library if plain == self._settings else load_library(plain, self._name)

    def _encode(self, text: str) -> NDArray[np.int32]:
        return self._encode_with(self.library, text)

    def _encode_continuation(self, text: str) -> NDArray[np.int32]:
        return self._encode_with(self._continuing, text)

    def _encode_with(self, library: tokenizers.Tokenizer, text: str) -> NDArray[np.int32]:
        try:
            ids = library.encode(text, add_special_tokens=False).ids
        except BaseException as error:
            if isinstance(error, Exception) or is_panic(error):
                raise self._refusal(library, text, error) from None
            raise
        return np.asarray(ids, np.int32)

    def encode_batch(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        """What the library says of NFC texts, in parallel; raises as `encode`."""
        try:
            return self.library.encode_batch(texts, add_special_tokens=False)
        except BaseException:
            for text in texts:
                self._encode(text)  # says which one it is, and why
            raise

    def _refusal(self, library: tokenizers.Tokenizer, text: str, error: BaseException) -> UserError:
        """Names the first character that cannot be encoded: the end of the shortest such text."""
        if is_panic(error):
            return UserError(f"{self._name}: the library fails on this text: {error}")
        taken, refused = 0, len(text)
        while refused - taken > 1:
            middle = (taken + refused) // 2
            try:
                library.encode(text[:middle], add_special_tokens=False)
                taken = middle
            except Exception:
                refused = middle
        character = text[refused - 1 : refused]
        return UserError(
            f"character {character!r} (U+{ord(character or chr(0)):04X}) at character "
            f"{refused - 1}: this tokenizer has no token for it and none for unknown text ({error})"
        )

    def _decode(self, ids: NDArray[np.int64]) -> str:
        kept = [index for index in ids.tolist() if index not in self._without_text]
        tokens = list(self._whole_characters(kept)) if self._bytes else self._spelled(kept)
        decoder = self.library.decoder
        text: str = " ".join(tokens) if decoder is None else decoder.decode(tokens)
        return text

    def _spelled(self, ids: Iterable[int]) -> list[str]:
        return [self._inputs[index] for index in ids if index in self._inputs]

    def _whole_characters(self, ids: Iterable[int]) -> Iterable[str]:
        """The tokens, each byte that is in no character as U+FFFD.

        Of a row of bytes that is not UTF-8 as a whole the library would give up every character.
        """
        row = bytearray()
        for index in (*ids, -1):
            if index in self._bytes:
                row.append(self._bytes[index])
                continue
            for character in row.decode("utf-8", errors="replace"):
                if character == "\N{REPLACEMENT CHARACTER}":
                    yield character
                else:
                    yield from (f"<0x{byte:02X}>" for byte in character.encode())
            row.clear()
            yield from self._spelled([index])

    def id_to_piece(self, index: int) -> str:
        """See `Tokenizer.id_to_piece`."""
        return self._pieces.get(index, f"<{index}>")


def _names(model: dict[str, Any]) -> set[str]:
    """The names in a vocabulary; of unigram models it is a list of pairs."""
    vocab = model.get("vocab") or ()
    try:
        return set(vocab) if isinstance(vocab, dict) else {piece for piece, _ in vocab}
    except (TypeError, ValueError):
        return set()  # the library says what is wrong with it


def _hidden(settings: dict[str, Any], control: set[str]) -> dict[str, Any]:
    """The settings with which no text is spelled by a token of `control`."""
    model = settings["model"]
    names: dict[str, str] = {}
    if model.get("type") != "BPE" or model.get("ignore_merges"):  # else a token needs merges
        names = {each: each + _NOWHERE for each in control & _names(model)}
    added = [
        {
            **token,
            "content": names.get(token["content"], token["content"]),
            "special": token["content"] in control,
        }
        for token in settings["added_tokens"]
    ]
    if names:
        vocab, unknown = model["vocab"], model.get("unk_token")
        if isinstance(vocab, dict):
            vocab = {names.get(piece, piece): index for piece, index in vocab.items()}
        else:
            vocab = [(names.get(piece, piece), score) for piece, score in vocab]
        model = {**model, "vocab": vocab}
        if unknown in names:
            model["unk_token"] = names[unknown]
    # What is added to texts as a whole (begin, end) is left to the callers.
    return {**settings, "model": model, "added_tokens": added, "post_processor": None}


def _without_prefix(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings without what puts a space before a text."""
    plain = copy.deepcopy({**settings, "model": None})
    for part in (*steps(plain, "normalizer"), *steps(plain, "pre_tokenizer")):
        if part["type"] == "Prepend":
            part["prepend"] = ""
        elif part["type"] == "ByteLevel":
            part["add_prefix_space"] = False
        elif part["type"] == "Metaspace":
            part.pop("add_prefix_space", None)  # what the next one was called before
            part["prepend_scheme"] = "never"
    return {**plain, "model": settings["model"]}
