"""A byte-level BPE `tokenizer.json`: read, checked, and written with more tokens.

Byte-level BPE (GPT-2; Radford et al. 2019) writes bytes as characters. A byte that is a visible
Latin-1 character stands for itself, the others for U+0100, U+0101, ... in order: a space is "Ġ".
"""

import copy
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import tokenizers

from mmrec_jax.errors import UserError

Merge = tuple[str, str]

_VISIBLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
_CHARACTERS = {byte: chr(byte) for byte in _VISIBLE} | {
    byte: chr(0x100 + index) for index, byte in enumerate(_HIDDEN)
}
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}
ALPHABET = frozenset(_BYTES)


def spell(text: str) -> str:
    """The UTF-8 bytes of `text`, one character per byte."""
    return "".join(_CHARACTERS[byte] for byte in text.encode("utf-8"))


def unspell(token: str) -> bytes:
    """The bytes of a token; a KeyError for a character that stands for no byte."""
    return bytes(_BYTES[character] for character in token)


@dataclasses.dataclass(frozen=True, eq=False)
class BpeFile:
    """A checked file of the `tokenizers` library whose model is byte-level BPE."""

    name: str  # the path, for error messages
    settings: dict[str, Any]  # the parsed JSON
    vocab: dict[str, int]  # token -> id of the model, without the added tokens
    merges: list[Merge]  # pairs of tokens, in order of merging
    added: dict[str, int]  # content -> id of the added (special) tokens
    sha256: str  # of the file's bytes, hex

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads and checks a file.

        Raises:
          UserError: it cannot be read, is no tokenizer.json, or is not byte-level BPE.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        return cls.from_content(content, str(path))

    @classmethod
    def from_content(cls, content: bytes, name: str) -> Self:
        """As `read`, from the bytes of a file that errors call `name`."""
        try:
            settings = json.loads(content)
            fault = _model_fault(settings)
            if not fault:  # the library may panic on another kind
                tokenizers.Tokenizer.from_buffer(content)
                fault = _text_fault(settings)
        except ValueError as error:
            fault = f"this is not a Hugging Face tokenizer.json: {str(error).splitlines()[0]}"
        if fault:
            raise UserError(f"{name}: {fault}")
        model = settings["model"]
        added = {token["content"]: token["id"] for token in settings.get("added_tokens", ())}
        vocab = {token: index for token, index in model["vocab"].items() if token not in added}
        pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
        merges = [(left, right) for left, right in pairs]
        missing = ALPHABET - vocab.keys()
        if missing:
            raise UserError(
                f"{name}: {len(missing)} of the 256 bytes have no token; such a tokenizer cannot "
                "spell every text and cannot be extended"
            )
        return cls(name, settings, vocab, merges, added, hashlib.sha256(content).hexdigest())

    @functools.cached_property
    def next_id(self) -> int:
        """The first id after those of all tokens."""
        return max(*self.vocab.values(), *self.added.values()) + 1

    @property
    def split_regex(self) -> str | None:
        """The regular expression that splits text into pre-tokens; None unless there is just one.

        Also None for that of GPT-2, which is built into the library.
        """
        splits = [part for part in _pre_tokenizers(self.settings) if part["type"] == "Split"]
        if len(splits) != 1 or splits[0]["behavior"] != "Isolated" or splits[0]["invert"]:
            return None
        regex: str | None = splits[0]["pattern"].get("Regex")
        return regex

    def extended(
        self, tokens: Sequence[str], merges: Iterable[Merge], split_regex: str | None
    ) -> bytes:
        """The content of a file with more tokens (from `next_id` on) and merges after its own.

        A `split_regex` of None keeps the old one. The added tokens are entered into the model's
        vocabulary too: otherwise the library numbers them after it and ignores the ids that the
        file gives them.
        """
        settings = copy.deepcopy({**self.settings, "model": None})
        vocab = self.vocab | self.added
        vocab |= {token: index for index, token in enumerate(tokens, self.next_id)}
        settings["model"] = {
            **self.settings["model"],
            "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
            "merges": [list(merge) for merge in (*self.merges, *merges)],
        }
        if split_regex is not None:
            for part in _pre_tokenizers(settings):
                if part["type"] == "Split":
                    part["pattern"] = {"Regex": split_regex}
        return (json.dumps(settings, ensure_ascii=False, indent=1) + "\n").encode()


def load_tokenizer(content: bytes) -> tokenizers.Tokenizer:
    """A tokenizer of the library that takes all text as text: no special tokens, no truncation."""
    tokenizer = tokenizers.Tokenizer.from_buffer(content)
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _pre_tokenizers(settings: dict[str, Any]) -> list[dict[str, Any]]:
    top = settings.get("pre_tokenizer") or {"type": "none"}
    parts: list[dict[str, Any]] = top["pretokenizers"] if top["type"] == "Sequence" else [top]
    return parts


def _model_fault(settings: Any) -> str | None:
    """Why the model cannot be extended; a ValueError if there is none."""
    model = settings.get("model") if isinstance(settings, dict) else None
    if not isinstance(model, dict):
        raise ValueError("it has no model")
    if model.get("type") != "BPE":
        return f"the model is {model.get('type')}; only byte-level BPE can be extended"
    for field in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "dropout"):
        if model.get(field):
            return f"model.{field} is {model[field]!r}; only BPE without it can be extended"
    return None


def _text_fault(settings: dict[str, Any]) -> str | None:
    """Why the way from a text to its pre-tokens cannot be extended."""
    parts = _pre_tokenizers(settings)
    kinds = [part["type"] for part in parts]
    allowed = {"Split", "Digits", "Punctuation", "ByteLevel"}
    if kinds[-1] != "ByteLevel" or not set(kinds) <= allowed or kinds.count("ByteLevel") > 1:
        return (
            f"the pre-tokeniser is {' + '.join(kinds)}; only ByteLevel, alone or after Split, "
            "Digits and Punctuation, can be extended"
        )
    if parts[-1].get("add_prefix_space"):
        return (
            "the pre-tokeniser adds a space before the text (add_prefix_space); such a tokenizer "
            "does not give back its text and cannot be extended"
        )
    normalizer = (settings.get("normalizer") or {"type": "NFC"})["type"]
    if normalizer != "NFC":
        return f"the normalizer is {normalizer}; only NFC, or none, can be extended"
    return None
