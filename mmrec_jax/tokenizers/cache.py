"""Making a run's tokenizer once, and finding it again."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmrec_jax.config import Config
from mmrec_jax.errors import UserError
from mmrec_jax.json_object import read_json_object
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.byte_bpe import train_byte_bpe
from mmrec_jax.tokenizers.char import CharTokenizer
from mmrec_jax.tokenizers.chat_template import CONFIG_FILE, find_template
from mmrec_jax.tokenizers.huggingface import HuggingFaceTokenizer
from mmrec_jax.tokenizers.sentencepiece import SentencePieceTokenizer, train_sentencepiece
from mmrec_jax.tokenizers.tokenizer import INFO_FILE, Tokenizer, fingerprint

# Part of the cache key: raise it when training changes, so that old entries are not found.
_TRAINING_VERSION = 1

_KINDS: dict[str, type[Tokenizer]] = {
    each.kind: each
    for each in (ByteTokenizer, CharTokenizer, HuggingFaceTokenizer, SentencePieceTokenizer)
}


def build_tokenizer(run: Config, texts: Iterable[str], directory: Path) -> Tokenizer:
    """The tokenizer that `run.tokenizer` asks for.

    A trained one is kept in a folder of `directory` whose name is a hash of `texts`, the NFC texts
    of the training split, and of the settings: a second call with the same ones loads it. A damaged
    entry is trained again.

    Raises:
      UserError: the vocabulary does not fit the text, the text is empty, or the file of kind
        "file" is missing, damaged or without an end-of-text token.
    """
    config = run.tokenizer
    if config.kind == "byte":
        return ByteTokenizer()
    if config.kind == "file":
        path = Path(config.path)
        return read_tokenizer_file(path, "config.tokenizer.path", config.begin, config.end)
    texts = list(texts)
    if config.kind == "char":
        if not any(texts):
            raise UserError("the training text is empty: there are no characters to learn")
        return CharTokenizer.from_texts(texts)
    vocab_size = config.vocab_size or run.model.vocab_size
    field = "config.tokenizer.vocab_size" if config.vocab_size else "config.model.vocab_size"
    folder = directory / f"{config.kind}-{_cache_key(config.kind, vocab_size, texts)}"
    try:
        return load_tokenizer(folder)
    except UserError:
        tokenizer: Tokenizer
        if config.kind == "byte_bpe":
            tokenizer = train_byte_bpe(texts, vocab_size, field)
        else:
            tokenizer = train_sentencepiece(texts, config.kind, vocab_size, field)
        tokenizer.save(folder)
        return tokenizer


def load_tokenizer(directory: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer that `Tokenizer.save` wrote into `directory`, with its chat template if any.

    Raises:
      UserError: there is none, or its files do not agree with each other.
    """
    folder = Path(directory)
    try:
        info = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
        kind, expected = info["kind"], info["fingerprint"]
        begin, end = (str(info.get(name, "")) for name in ("begin", "end"))  # not in older ones
    except OSError:
        raise UserError(f"{folder}: there is no tokenizer here ({INFO_FILE} is missing)") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder / INFO_FILE}: this file is damaged") from None
    if str(kind) not in _KINDS:
        raise UserError(f"{folder / INFO_FILE}: unknown kind of tokenizer {kind!r}")
    path = folder / _KINDS[kind].content_file
    try:
        content = path.read_bytes()
    except OSError:
        raise UserError(f"{path}: this file of the tokenizer is missing") from None
    if fingerprint(kind, content, begin, end) != expected:
        raise UserError(f"{path}: the tokenizer is not the one that {INFO_FILE} describes")
    tokenizer = _KINDS[kind].from_content(content, str(path), begin, end)
    tokenizer.chat_template = find_template(folder)
    tokenizer.stop_ids = tuple(info.get("stop_ids", ()))
    tokenizer.begins_prompts = bool(info.get("begins_prompts", True))  # not in older ones
    tokenizer.loader_settings = _read_settings(folder / CONFIG_FILE, str(folder / CONFIG_FILE))
    tokenizer.generation_settings = info.get("generation_settings", {})
    return tokenizer


def read_tokenizer_file(path: Path, option: str, begin: str = "", end: str = "") -> Tokenizer:
    """A Hugging Face `tokenizer.json`, or else a sentencepiece model; errors begin with `option`.

    `begin` and `end` name the tokens before and after a text; what a `tokenizer_config.json` beside
    the file says of them holds where they are empty.

    Raises:
      UserError: a file is missing or damaged, or there is no token that ends a text.
    """
    path = path.expanduser()
    settings = path.with_name(CONFIG_FILE)
    named = _read_settings(settings, f"{option}: {settings}")
    end = end or token_name(named.get("eos_token"))
    begin = begin or token_name(named.get("bos_token"))
    if not begin and named.get("bos_token", begin) is None:
        begin = end  # there is none, it says
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{option}: {path} cannot be read: {error.strerror}") from None
    kind = HuggingFaceTokenizer if path.suffix == ".json" else SentencePieceTokenizer
    tokenizer = kind.from_content(content, f"{option}: {path}", begin, end)
    tokenizer.chat_template = find_template(path.parent)
    tokenizer.loader_settings = named
    return tokenizer


def _read_settings(path: Path, where: str) -> dict[str, Any]:
    """What `CONFIG_FILE` says, without the template, which is kept apart; {} without the file."""
    found = read_json_object(path, where) if path.is_file() else {}
    found.pop("chat_template", None)
    return found


def token_name(value: Any) -> str:
    """A token of `CONFIG_FILE`: its name, an object that holds it, or null."""
    name = value.get("content") if isinstance(value, dict) else value
    return name if isinstance(name, str) else ""


def _cache_key(kind: str, vocab_size: int, texts: Iterable[str]) -> str:
    digest = hashlib.sha256(f"{_TRAINING_VERSION} {kind} {vocab_size}".encode())
    for text in texts:
        data = text.encode("utf-8")
        digest.update(f" {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()[:16]
