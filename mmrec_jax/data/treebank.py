"""The default corpus: sentences of the Turkish Web Treebank (Apache-2.0), from the package index.

The distribution `turkish-treebanks` holds 4,851 sentences of Wikipedia articles and of web pages.
Its annotations are not used, only the `# text` lines. A document is all sentences whose `sent_id`
agrees before `:S`. The sentences of one document were *sampled* from it (their numbers have gaps),
so they are joined by a newline, not by a space: neighbours need not have been neighbours.
"""

import importlib.metadata
from pathlib import Path
from typing import Literal

from mmrec_jax.data.document import Document
from mmrec_jax.errors import UserError

_DISTRIBUTION = "turkish-treebanks"
_REMEDY = f'install it with "pip install {_DISTRIBUTION}"'
_SENTENCE_ID = "# sent_id = "
_TEXT = "# text = "


def treebank_documents() -> list[Document]:
    """All documents of the treebank, sorted by name, each with its sentences in their order.

    Raises:
      UserError: the package is not installed or its files are gone.
    """
    sentences: dict[str, list[tuple[int, str]]] = {}
    for part in ("wiki", "web"):
        identifier = ""
        for line in treebank_file(part).read_text(encoding="utf-8").split("\n"):
            if line.startswith(_SENTENCE_ID):
                identifier = line.removeprefix(_SENTENCE_ID)
            elif line.startswith(_TEXT):
                name, _, number = identifier.rpartition(":S")
                sentences.setdefault(name, []).append((int(number), line.removeprefix(_TEXT)))
    return [
        Document(name, "\n".join(text for _, text in sorted(sentences[name])))
        for name in sorted(sentences)
    ]


def treebank_file(part: Literal["wiki", "web"]) -> Path:
    """Where one part of the treebank lies, in CoNLL-U.

    Raises:
      UserError: the package is not installed or the file is gone.
    """
    distribution = _distribution()
    path = Path(str(distribution.locate_file(f"data/{part}.conllu")))
    if not path.is_file():
        raise UserError(f"{path}: this file of {_DISTRIBUTION} is missing; re{_REMEDY}")
    return path


def treebank_version() -> str:
    """The name and version of the package that the treebank is read from.

    Raises:
      UserError: it is not installed.
    """
    return f"{_DISTRIBUTION} {_distribution().version}"


def _distribution() -> importlib.metadata.Distribution:
    # The package itself is never imported: it would load its protobuf schema.
    try:
        return importlib.metadata.distribution(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            f"the Turkish treebank needs the package {_DISTRIBUTION}, which is not installed; "
            f"{_REMEDY}, or choose another config.data.source"
        ) from None
