"""The `tokenizers` library: a `tokenizer.json` read with its faults told in one line."""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from typing import Any

import tokenizers

from mmrec_jax.errors import UserError

_STDERR = threading.Lock()  # there is one for all threads
# Texts on which an expression that backtracks without end does so.
_LONG_RUNS = [f"{part * 48}{end}" for part in ("a", "a ", " ", "1", ".") for end in ("\x01", "ç")]


def read_settings(content: bytes, name: str) -> dict[str, Any]:
    """The parsed JSON of a file that errors call `name`; a part that is absent is None or [].

    Raises:
      UserError: it is no JSON, or not that of a tokenizer.
    """
    try:
        settings = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _no_tokenizer(name, error) from None
    if not isinstance(settings, dict) or not isinstance(settings.get("model"), dict):
        raise _no_tokenizer(name, "it has no model")
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        settings.setdefault(part, None)
    settings["added_tokens"] = settings.get("added_tokens") or []
    if not isinstance(settings["added_tokens"], list):
        raise _no_tokenizer(name, "added_tokens is no list")
    for token in settings["added_tokens"]:
        if not isinstance(token, dict) or not isinstance(token.get("content"), str):
            raise _no_tokenizer(name, "added_tokens has something without content")
    return settings


def steps(settings: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """What the normalizer or the pre_tokenizer of some settings does, one after another."""
    whole = settings[part]
    if whole is None:
        return []
    several = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}[part]
    found: list[dict[str, Any]] = whole[several] if whole["type"] == "Sequence" else [whole]
    return found


def load_library(settings: dict[str, Any], name: str) -> tokenizers.Tokenizer:
    """The library's tokenizer of `read_settings`; equal texts have equal ids.

    What is marked as special is text where it occurs in a text; nothing is cut off, padded, or left
    to chance (BPE dropout).

    Raises:
      UserError: the library does not take it, or fails on a plain text.
    """
    model = settings["model"]
    if "dropout" in model:
        model = {**model, "dropout": None}
    whole = {"truncation": None, "padding": None, "model": model}
    with _silent_panics():
        try:
            library = tokenizers.Tokenizer.from_buffer(json.dumps(settings | whole).encode())
        except BaseException as error:
            if isinstance(error, ValueError) or is_panic(error):
                raise _no_tokenizer(name, error) from None
            raise
        library.encode_special_tokens = True
        for text in _LONG_RUNS:
            try:
                library.encode(text)
            except BaseException as error:
                if is_panic(error):
                    raise UserError(
                        f"{name}: the pre_tokenizer fails on {len(text)} characters such as "
                        f"{text[:4]!r} ({_first_line(error)}); its regular expression must not "
                        "backtrack without end"
                    ) from None
                if not isinstance(error, Exception):
                    raise
    return library


def read_library(content: bytes, name: str = "tokenizer.json") -> tokenizers.Tokenizer:
    """`load_library` of the bytes of a file."""
    return load_library(read_settings(content, name), name)


def is_panic(error: BaseException) -> bool:
    """Whether the library broke down; its class is no `Exception` and cannot be imported."""
    return type(error).__name__ == "PanicException"


@contextlib.contextmanager
def _silent_panics() -> Iterator[None]:
    """The library writes a stack trace to file descriptor 2 before it raises."""
    with _STDERR:
        kept = os.dup(2)
        try:
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _no_tokenizer(name: str, reason: object) -> UserError:
    return UserError(f"{name}: this is not a Hugging Face tokenizer.json: {_first_line(reason)}")


def _first_line(reason: object) -> str:
    return (str(reason).splitlines() or [type(reason).__name__])[0]
