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

from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.library import load_library, read_settings, steps

Merge = tuple[str, str]

_VISIBLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_HIDDEN = [byte for byte in range(256) if byte not in _VISIBLE]
_CHARACTERS = {byte: chr(byte) for byte in _VISIBLE} | {
    byte: chr(0x100 + index) for index, byte in enumerate(_HIDDEN)
}
_BYTES = {character: byte for byte, character in _CHARACTERS.items()}
_OTHER_FILES = dict.fromkeys(("tokenizer.model", "spiece.model"), "sentencepiece")
_OTHER_FILES["vocab.txt"] = "WordPiece"
_REMEDY = (
    "give a base whose tokenizer.json is byte-level BPE (Qwen3's, say), or train a model with "
    "config.tokenizer.kind=byte_bpe"
)
# Built into the ByteLevel of the library.
GPT2_REGEX = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
ALPHABET = frozenset(_BYTES)
# Of printed text: some models (SmolLM2) have no tokens of control characters and unused bytes.
_NEEDED = frozenset(_CHARACTERS[byte] for byte in (9, 10, *range(32, 127), *range(0x80, 0xC0))) | {
    _CHARACTERS[byte] for byte in range(0xC2, 0xF1)
}


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
    added: dict[str, int]  # content -> id of the added tokens, special or not
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
            for name, kind in _OTHER_FILES.items():
                if (path.parent / name).is_file():
                    raise UserError(f"{path.parent / name}: this is {kind}; {_REMEDY}") from None
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        if path.suffix == ".model":
            raise UserError(f"{path}: this is sentencepiece; {_REMEDY}")
        return cls.from_content(content, str(path))

    @classmethod
    def from_content(cls, content: bytes, name: str) -> Self:
        """As `read`, from the bytes of a file that errors call `name`."""
        settings = read_settings(content, name)
        if fault := _model_fault(settings["model"]):
            raise UserError(f"{name}: {fault}; {_REMEDY}")
        library = load_library(settings, name)
        if fault := extension_fault(settings):
            raise UserError(f"{name}: {fault}; {_REMEDY}")
        # The library numbers added tokens by itself: one that is in the vocabulary has its id.
        added = {token.content: i for i, token in library.get_added_tokens_decoder().items()}
        pairs = (
            merge.split(" ") if isinstance(merge, str) else merge
            for merge in settings["model"]["merges"]
        )
        merges = [(left, right) for left, right in pairs]
        spelled = ALPHABET.union(*merges, map("".join, merges))
        vocab = {
            token: index
            for token, index in library.get_vocab(with_added_tokens=False).items()
            if token in spelled or token not in added
        }
        missing = _NEEDED - vocab.keys()
        if missing:
            raise UserError(
                f"{name}: {len(missing)} bytes of ordinary text have no token; such a tokenizer "
                f"cannot spell every text and cannot be extended; {_REMEDY}"
            )
        return cls(name, settings, vocab, merges, added, hashlib.sha256(content).hexdigest())

    @functools.cached_property
    def next_id(self) -> int:
        """The first id after those of all tokens."""
        return max(*self.vocab.values(), *self.added.values()) + 1

    @property
    def split_regex(self) -> str | None:
        """The expression that splits text into pre-tokens, digits apart; None if it is not one."""
        *others, spelling = steps(self.settings, "pre_tokenizer")
        others = [part for part in others if part["type"] != "Digits"]
        if spelling.get("use_regex", True):
            return None if others else GPT2_REGEX
        if len(others) != 1 or others[0]["type"] != "Split":
            return None
        if others[0]["behavior"] != "Isolated" or others[0]["invert"]:
            return None
        regex: str | None = others[0]["pattern"].get("Regex")
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
        for token in settings["added_tokens"]:
            token["id"] = self.added[token["content"]]
        vocab = self.vocab | self.added
        vocab |= {token: index for index, token in enumerate(tokens, self.next_id)}
        settings["model"] = {
            **self.settings["model"],
            "vocab": dict(sorted(vocab.items(), key=lambda item: item[1])),
            "merges": [list(merge) for merge in (*self.merges, *merges)],
        }
        if split_regex is not None:
            split = {"type": "Split", "behavior": "Isolated", "invert": False}
            split["pattern"] = {"Regex": split_regex}
            *others, spelling = steps(settings, "pre_tokenizer")
            parts = [split if part["type"] == "Split" else part for part in others]
            parts += [split] * (split not in parts)
            parts.append({**spelling, "use_regex": False})
            settings["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": parts}
        return (json.dumps(settings, ensure_ascii=False, indent=1) + "\n").encode()


def _model_fault(model: dict[str, Any]) -> str | None:
    if model.get("type") != "BPE":
        return f"the model is {model.get('type')}; only byte-level BPE can be extended"
    for field in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "dropout"):
        if model.get(field):
            return f"model.{field} is {model[field]!r}; only BPE without it can be extended"
    return None


def extension_fault(settings: dict[str, Any]) -> str | None:
    """Why a tokenizer is not byte-level BPE that keeps every text as it is; None: it is."""
    if fault := _model_fault(settings["model"]):
        return fault
    parts = steps(settings, "pre_tokenizer")
    kinds = [part["type"] for part in parts] or ["none"]
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
    normalizers = [part["type"] for part in steps(settings, "normalizer")]
    if normalizers not in ([], ["NFC"]):
        return f"the normalizer is {' + '.join(normalizers)}; only NFC, or none, can be extended"
    return None
