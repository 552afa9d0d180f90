"""What every tokenizer can do, and how it is stored beside a checkpoint."""

import abc
import functools
import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mmrec_jax.atomic_file import replace_file
from mmrec_jax.errors import UserError
from mmrec_jax.tokenizers.chat_template import (
    CONFIG_FILE,
    FORMER_FILE,
    TEMPLATE_FILE,
    ChatTemplate,
)

INFO_FILE = "tokenizer_info.json"
_CONTROL = re.compile(r"(?!<0x[0-9A-F]{2}>)[<\[]\S+[>\]]")


class Tokenizer(abc.ABC):
    """Text to ids and back.

    `decode(encode(x))` is NFC(x) for every string x that `encode` accepts, except for tokenizers
    read from a file that lose something (case, accents, spaces, rare characters): see
    `unspelled_bytes`.

    Attributes:
      kind: the storage format, one of "sentencepiece", "huggingface", "byte", "char".
      content_file: the name under which `save` stores `content`.
      vocab_size: number of ids, special ones included; ids are 0 .. vocab_size - 1.
      bos_id: the id before the first token of a document; equal to `eos_id` where a tokenizer
        from a file has no such id.
      eos_id: the id after the last token of a document.
      content: the bytes that determine the tokenizer, but for `begin` and `end`.
      begin: the name of the token of `bos_id`, where it is not the one that `content` implies.
      end: the same of `eos_id`.
      control_ids: ids that the encoding of no text has: begin, end, special tokens, and added ones
        that are written like them ("<|im_end|>", "<think>", "[INST]"). Their names in a text are
        spelled like any other text.
      lossless: whether every text that `encode` takes is known to come back from its ids.
      unknown_id: the id of all that the vocabulary lacks; None: there is no such id.
      chat_template: how conversations are written for the model that it belongs to, if it was
        trained on any. It is kept with the tokenizer and does not change what ids mean.
      stop_ids: ids beside `eos_id` at which the model ends a text, as a pretrained model's
        generation_config.json says; kept like the template.
      begins_prompts: whether a text that the model is to continue begins with `bos_id`, as the
        documents of a run do; some pretrained models read it as it is. Kept like the template.
      loader_settings: of a tokenizer that was published, what its tokenizer_config.json says but
        for the template; kept like it, for who loads it with `transformers`.
      generation_settings: all that its generation_config.json says, kept likewise.
    """

    kind: ClassVar[str]
    content_file: ClassVar[str]
    vocab_size: int
    bos_id: int
    eos_id: int
    content: bytes
    begin: str = ""
    end: str = ""
    control_ids: frozenset[int]
    lossless: bool = True
    unknown_id: int | None = None
    chat_template: ChatTemplate | None = None
    stop_ids: tuple[int, ...] = ()
    begins_prompts: bool = True
    loader_settings: Mapping[str, Any] = MappingProxyType({})
    generation_settings: Mapping[str, Any] = MappingProxyType({})

    @property
    def ends(self) -> tuple[int, ...]:
        """The ids that end a text, `eos_id` first."""
        return (self.eos_id, *self.stop_ids)

    @functools.cached_property
    def fingerprint(self) -> str:
        """sha256 (hex): equal if and only if the ids mean the same."""
        return fingerprint(self.kind, self.content, self.begin, self.end)

    def encode(self, text: str, *, continues: bool = False) -> NDArray[np.int32]:
        """The ids of NFC(text), int32, without `bos_id` and `eos_id`; a function of its arguments.

        What looks like a token of `control_ids` is spelled like the rest. A text that `continues`
        goes on with one before it: some tokenizers write a space before every other text, which
        would part a word there.

        Raises:
          UserError: `text` holds half a surrogate pair, or a character that this tokenizer refuses.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise UserError(
                f"the text holds half a surrogate pair, U+{ord(text[error.start]):04X}, at "
                f"character {error.start}; it is not valid Unicode"
            ) from None
        encode = self._encode_continuation if continues else self._encode
        return encode(unicodedata.normalize("NFC", text))

    def __init__(self, content: bytes, name: str, begin: str = "", end: str = "") -> None:
        self.content = content

    @classmethod
    def from_content(cls, content: bytes, name: str, begin: str = "", end: str = "") -> Self:
        """The tokenizer of some `content`; errors call it `name`.

        `begin` and `end` name the tokens before and after a text; empty: those that `content`
        implies.

        Raises:
          UserError: `content` is damaged or has no such token.
        """
        return cls(content, name, begin, end)

    @abc.abstractmethod
    def _encode(self, text: str) -> NDArray[np.int32]: ...

    def _encode_continuation(self, text: str) -> NDArray[np.int32]:
        return self._encode(text)

    def _choose_ends(
        self,
        name: str,
        names: Collection[str],
        given: tuple[str, str],
        usual: tuple[str, str],
        special: Sequence[str],
    ) -> tuple[str, str]:
        """The names of the tokens that begin and end a text, both of `names`; sets `begin`, `end`.

        They are the `given` ones, or where these are "" the `usual` ones, those that the content
        implies; a text that nothing begins begins with what ends one. `special` are proposed where
        there is no end; errors call the tokenizer `name`.
        """
        last = given[1] or usual[1]
        if not last:
            found = [each for each in names if each in special or looks_like_control(each)]
            raise UserError(
                f"{name}: no token is known to end a text; name one as eos_token in a "
                "tokenizer_config.json beside it, or with config.tokenizer.end"
                + (f", such as {', '.join(found[:8])}" if found else "")
            )
        first = given[0] or usual[0] or last
        for token, side in ((first, "begin"), (last, "end")):
            if token not in names:
                raise UserError(
                    f"{name}: there is no token {token!r}, which is to {side} a text; "
                    f"config.tokenizer.{side} names another one"
                )
        self.begin = "" if first == (usual[0] or last) else first
        self.end = "" if last == usual[1] else last
        return first, last

    def unspelled_bytes(self, text: str, ids: NDArray[np.int32]) -> int:
        """How many UTF-8 bytes of NFC(text) its encoding `ids` does not spell.

        They are those of the characters that decoding does not give back: dropped, replaced (by
        lower case, say) or unknown. Characters are counted, not compared in order.
        """
        if self.lossless:
            return 0
        spelled = ids if self.unknown_id is None else ids[ids != self.unknown_id]
        missing = Counter(unicodedata.normalize("NFC", text))
        missing.subtract(self.decode(spelled))
        return sum(count * len(each.encode()) for each, count in missing.items() if count > 0)

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
        names = (
            "kind",
            "fingerprint",
            "vocab_size",
            "bos_id",
            "eos_id",
            "begin",
            "end",
            "stop_ids",
            "begins_prompts",
        )
        info = {name: getattr(self, name) for name in names}
        info["generation_settings"] = dict(self.generation_settings)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / self.content_file, self.content)
            (folder / FORMER_FILE).unlink(missing_ok=True)
            if template is None:
                (folder / TEMPLATE_FILE).unlink(missing_ok=True)
            else:
                replace_file(folder / TEMPLATE_FILE, template.source.encode())
            if self.loader_settings:
                settings = json.dumps(dict(self.loader_settings), indent=2, ensure_ascii=False)
                replace_file(folder / CONFIG_FILE, settings.encode())
            replace_file(folder / INFO_FILE, (json.dumps(info, indent=2) + "\n").encode())
        except OSError as error:
            raise UserError(f"{folder}: cannot write the tokenizer: {error.strerror}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        # The libraries' objects lose settings on the way; they are made anew.
        kept = {
            "chat_template": self.chat_template,
            "stop_ids": self.stop_ids,
            "begins_prompts": self.begins_prompts,
            "loader_settings": dict(self.loader_settings),
            "generation_settings": dict(self.generation_settings),
        }
        return _remade, (type(self), self.content, self.begin, self.end), kept


def fingerprint(kind: str, content: bytes, begin: str, end: str) -> str:
    """The `Tokenizer.fingerprint` of what is stored of one."""
    digest = hashlib.sha256(f"{kind}\n".encode() + content)
    if begin or end:
        digest.update(f"\n{begin}\n{end}".encode())
    return digest.hexdigest()


def looks_like_control(name: str) -> bool:
    """Whether the name of an added token is written like one that no text is to spell."""
    return _CONTROL.fullmatch(name) is not None


def _remade(kind: type[Tokenizer], content: bytes, begin: str, end: str) -> Tokenizer:
    """A tokenizer that was pickled."""
    return kind.from_content(content, f"a tokenizer of kind {kind.kind}", begin, end)
