"""Text files for tests that read some, with something of all that can be in such files."""

import gzip
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmrec_jax.data.files.reading import find_sources
from mmrec_jax.data.prepare.executors import ExecutorKind, Resources
from mmrec_jax.data.prepare.manifest import Manifest
from mmrec_jax.data.prepare.preparation import prepare_text
from mmrec_jax.data.prepare.settings import PrepareSettings
from mmrec_jax.tokenizers.byte import ByteTokenizer
from mmrec_jax.tokenizers.tokenizer import Tokenizer

SPLIT = PrepareSettings(validation_fraction=0.1)
FILTERED = PrepareSettings(validation_fraction=0.1, dedup="exact", language="tr", min_chars=6)

_WORDS = ("bir", "iki", "göl", "köprü", "çiçek", "ağaç", "ışık", "İstanbul", "deniz", "yol", "kuş")
_COPY = "bu metin birkaç kez geçer"
_ENGLISH = "this is what they would have written in those other words"


def corpus_texts(name: str, count: int) -> list[str]:
    """Documents of 3 to 30 words, every tenth one special; the same ones for the same name."""
    choose = random.Random(name)

    def words() -> str:
        return " ".join(choose.choice(_WORDS) for _ in range(choose.randint(3, 30)))

    texts = []
    for number in range(count):
        special = (_COPY, "kısa", _ENGLISH + f" {name} {number}", f"{words()}\x07 {words()}\x00")
        special = (*special, f"cu\u0308ce {words()}")
        texts.append(words() if number % 10 else special[number // 10 % len(special)])
    return texts


def write_corpus(folder: Path) -> str:
    """Two sources of 150 documents each: blocks of text, compressed JSON lines; their pattern."""
    text, lines = folder / "books.txt", folder / "web.jsonl.gz"
    text.write_text("\n\n".join(corpus_texts("books", 150)) + "\n", "utf-8")
    records = [json.dumps({"text": each}, ensure_ascii=False) for each in corpus_texts("web", 150)]
    lines.write_bytes(gzip.compress("\n".join(records).encode(), mtime=0))
    return f"{text},{lines}"


def prepare_small(
    out: Path,
    pattern: str,
    settings: PrepareSettings = SPLIT,
    tokenizer: Tokenizer | None = None,
    workers: int = 1,
    ram_mb: float = 10_000,
    executor: ExecutorKind = "local",
    slurm: Mapping[str, str] | None = None,
    **options: Any,
) -> Manifest | None:
    """Prepares some files, with `options` of `prepare_text`."""
    resources = Resources(workers, ram_mb, executor, slurm or {})
    sources = find_sources(pattern, "--source")
    return prepare_text(out, sources, tokenizer or ByteTokenizer(), settings, resources, **options)


def file_contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each file in a folder, at any depth."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
