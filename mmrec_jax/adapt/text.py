"""The text of an adaptation: split once, without copies, into files that every stage reads."""

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmrec_jax.adapt.config import AdaptConfig
from mmrec_jax.checkpoints.checksums import file_sha256
from mmrec_jax.data.document import Document
from mmrec_jax.data.files.hub import TfdsSplit
from mmrec_jax.data.files.reading import Reading, find_sources, read_file
from mmrec_jax.data.kinds.text import ManualConfig, TreebankConfig
from mmrec_jax.data.split import text_share
from mmrec_jax.errors import UserError

LANGUAGES = "turkish", "english"
_BUILT_IN = {"turkish": TreebankConfig, "english": ManualConfig}
_FIELDS = {"turkish": "text", "english": "english"}
# Letters that no other large language with Latin letters has but Azerbaijani; 8 % of Turkish ones.
_OWN = re.compile("[ıİşŞğĞ]")
_LEAST_OWN = 0.02
_MOST_APART = 1000
_LETTER = re.compile(r"[^\W\d_]")


def train_folder(analysed: Path, language: str) -> Path:
    """Where the training text of a language is: a file for each source."""
    return analysed / language


def validation_file(analysed: Path, language: str) -> Path:
    """Where its held-out text is."""
    return analysed / f"{language}_validation.jsonl"


def validation_documents(analysed: Path, language: str) -> list[Document]:
    """The held-out text."""
    return list(read_file(validation_file(analysed, language), Reading()))


def sample(analysed: Path, language: str, characters: int) -> Iterator[str]:
    """Training texts of a language, from the beginning of each source, so many characters each."""
    for path in sorted(train_folder(analysed, language).iterdir()):
        left = characters
        for document in read_file(path, Reading()):
            if left <= 0:
                break
            left -= len(document.text)
            yield document.text


def files_key(pattern: str, option: str) -> str:
    """sha256 (hex) of the bytes that a pattern of files means."""
    digest = hashlib.sha256()
    for source in find_sources(pattern, option):
        for file in source.files:
            if isinstance(file, TfdsSplit):
                digest.update(file.identity.encode())
                continue
            digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()


def split_text(config: AdaptConfig, language: str, analysed: Path) -> dict[str, Any]:
    """Writes the text of a language in two parts, and says what it is.

    Documents are held out by a hash of their text; of the built-in text those that every run holds
    out. One that was there before, but for white space at its ends, is left out.

    Raises:
      UserError: a file is broken, nothing is held out or left, or the text is not Turkish.
    """
    folder, option = train_folder(analysed, language), f"config.{_FIELDS[language]}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seen: set[bytes] = set()
    facts = {"documents": 0, "bytes": 0, "held_out": 0, "held_out_bytes": 0, "copies": 0}
    letters = own = 0
    with open(validation_file(analysed, language), "w", encoding="utf-8") as held:
        for index, (name, documents) in enumerate(_parts(config, language, option)):
            path = folder / f"{index:03d}.jsonl"
            with open(path, "w", encoding="utf-8") as train:
                for document, is_held in documents:
                    text = document.text.strip()
                    key = hashlib.blake2b(text.encode(), digest_size=12).digest()
                    if key in seen:
                        facts["copies"] += 1
                        continue
                    seen.add(key)
                    line = json.dumps({"text": text, "source": name}, ensure_ascii=False)
                    (held if is_held else train).write(line + "\n")
                    size = len(text.encode())
                    facts["held_out" if is_held else "documents"] += 1
                    facts["held_out_bytes" if is_held else "bytes"] += size
                    letters += len(_LETTER.findall(text))
                    own += len(_OWN.findall(text))
            if not path.stat().st_size:  # of a source of few documents all may be held out
                path.unlink()
    for part, words in (("documents", "to train on"), ("held_out", "held out")):
        if not facts[part]:
            raise UserError(
                f"{option}: no document is {words}: there are {len(seen)}; give more text, cut it "
                "into more documents (config.documents=line), or set another "
                "config.validation_fraction"
            )
    share = own / max(letters, 1)
    if language == "turkish" and config.check_language and share < _LEAST_OWN:
        raise UserError(
            f"{option}: {share:.1%} of its letters are ı, ş or ğ, of Turkish text about 8 %: this "
            "is no Turkish text; name other files (or config.check_language=False)"
        )
    return {**facts, "turkish_letters": share}


def _parts(
    config: AdaptConfig, language: str, option: str
) -> Iterator[tuple[str, Iterable[tuple[Document, bool]]]]:
    """(name, documents) of each source; each document with whether it is held out."""
    pattern = getattr(config, _FIELDS[language])
    if not pattern:
        built_in = _BUILT_IN[language]()
        train, held = built_in.load("train"), built_in.load("validation")
        yield (
            built_in.source,
            [*((each, False) for each in train), *((each, True) for each in held)],
        )
        return

    def parted(documents: Iterable[Document]) -> Iterator[tuple[Document, bool]]:
        return ((each, text_share(each.text) < config.validation_fraction) for each in documents)

    reading = Reading(config.documents, config.field)
    for source in find_sources(pattern, option):
        # Files are apart, so that new tokens are learned with an eye on each; but not thousands.
        few = len(source.files) <= _MOST_APART
        for part in [(file,) for file in source.files] if few else [source.files]:
            documents = dataclasses.replace(source, files=part).documents(reading)
            yield source.name, parted(documents)
