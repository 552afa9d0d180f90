"""A byte-level BPE `tokenizer.json`: read, checked, and written with more tokens."""

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
from mmrec_jax.tokenizers.byte_alphabet import ALPHABET

Merge = tuple[str, str]


@dataclasses.dataclass(frozen=True, eq=False)
class BpeFile:
    """A checked file of the `tokenizers` library whose model is byte-level BPE.

    Attributes:
      name: the path, for error messages.
      settings: the parsed JSON.
      vocab: token -> id of the model, the added tokens left out.
      merges: pairs of tokens, the first one merged first.
      added: content -> id of the added (special) tokens.
      sha256: of the file's bytes, hex.
    """

    name: str
    settings: dict[str, Any]
    vocab: dict[str, int]
    merges: list[Merge]
    added: dict[str, int]
    sha256: str

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
            _require_plain_bpe(settings, name)  # of another kind the library may panic
            tokenizers.Tokenizer.from_buffer(content)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{name}: this is not a Hugging Face tokenizer.json: {reason}"
            ) from None
        _require_byte_level(settings, name)
        model = settings["model"]
        added = {token["content"]: token["id"] for token in settings["added_tokens"]}
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
        """The first id that no token has."""
        return max(*self.vocab.values(), *self.added.values()) + 1

    @property
    def split_regex(self) -> str | None:
        """The regular expression that cuts text into pre-tokens; None where there is not just one.

        None too for the expression of GPT-2, which the library holds itself.
        """
        splits = [part for part in _pre_tokenizers(self.settings) if part["type"] == "Split"]
        if len(splits) != 1 or splits[0]["behavior"] != "Isolated" or splits[0]["invert"]:
            return None
        regex: str | None = splits[0]["pattern"].get("Regex")
        return regex

    def tokenizer(self) -> tokenizers.Tokenizer:
        """The library's tokenizer of this file; special tokens in a text are text to it."""
        return load_tokenizer(json.dumps(self.settings).encode())

    def extended(
        self, tokens: Sequence[str], merges: Iterable[Merge], split_regex: str | None
    ) -> bytes:
        """The content of a file with more tokens.

        The added tokens are entered into the model's vocabulary too: where they are not, the
        library numbers them after it and ignores the ids that the file gives them.

        Args:
          tokens: new tokens; they get the ids from `next_id` on.
          merges: new merges, to come after the old ones.
          split_regex: the new `split_regex`; None: the old one stays.
        """
        settings = copy.deepcopy({**self.settings, "model": None})
        model = dict(self.settings["model"].items())
        vocab = self.vocab | self.added
        vocab |= {token: index for index, token in enumerate(tokens, self.next_id)}
        model["vocab"] = dict(sorted(vocab.items(), key=lambda item: item[1]))
        model["merges"] = [list(merge) for merge in (*self.merges, *merges)]
        settings["model"] = model
        if split_regex is not None:
            for part in _pre_tokenizers(settings):
                if part["type"] == "Split":
                    part["pattern"] = {"Regex": split_regex}
        return (json.dumps(settings, ensure_ascii=False, indent=1) + "\n").encode()


def load_tokenizer(content: bytes) -> tokenizers.Tokenizer:
    """A tokenizer of the library that reads text as text: no special tokens, nothing cut."""
    tokenizer = tokenizers.Tokenizer.from_buffer(content)
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _pre_tokenizers(settings: dict[str, Any]) -> list[dict[str, Any]]:
    top = settings["pre_tokenizer"] or {"type": "none"}
    parts: list[dict[str, Any]] = top["pretokenizers"] if top["type"] == "Sequence" else [top]
    return parts


def _require_plain_bpe(settings: Any, name: str) -> None:
    model = settings.get("model") if isinstance(settings, dict) else None
    if not isinstance(model, dict):
        raise ValueError("it has no model")
    if model.get("type") != "BPE":
        raise UserError(
            f"{name}: the model is {model.get('type')}; only byte-level BPE can be extended"
        )
    for field in ("continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "dropout"):
        if model.get(field):
            raise UserError(
                f"{name}: model.{field} is {model[field]!r}; only byte-level BPE without it can "
                "be extended"
            )


def _require_byte_level(settings: dict[str, Any], name: str) -> None:
    kinds = [part["type"] for part in _pre_tokenizers(settings)]
    allowed = {"Split", "Digits", "Punctuation", "ByteLevel"}
    if kinds[-1] != "ByteLevel" or not set(kinds) <= allowed or kinds.count("ByteLevel") > 1:
        raise UserError(
            f"{name}: the pre-tokeniser is {' + '.join(kinds)}; only ByteLevel, alone or after "
            "Split, Digits and Punctuation, can be extended"
        )
    byte_level = _pre_tokenizers(settings)[-1]
    if byte_level.get("add_prefix_space"):
        raise UserError(
            f"{name}: the pre-tokeniser adds a space before the text (add_prefix_space); such a "
            "tokenizer does not give back its text and cannot be extended"
        )
    normalizer = (settings["normalizer"] or {"type": "NFC"})["type"]
    if normalizer != "NFC":
        raise UserError(
            f"{name}: the normalizer is {normalizer}; only NFC, or none, can be extended"
        )
